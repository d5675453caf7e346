import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool.__main__ import main
from pool.analysis import AnalysisSettings, StudyAnalysis, analyse, conclude
from pool.errors import OutputError
from pool.evaluation.overlap import dice
from pool.figures.overlay import overlay_png
from pool.member import Pool
from pool.output import check_writable, whole_folder
from pool.preprocess import prepare
from pool.results import result_dict, write_results
from pool.sweep import SweepSettings
from tests.samples import bolus_series, tiny_pool, write_npz

FAST = AnalysisSettings(sweep=SweepSettings(stride_px=16))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    folder = tmp_path_factory.mktemp("pool")
    tiny_pool(folder)
    return analyse(bolus_series(2), Pool.load(folder), FAST)


def test_result_json_says_what_was_believed_and_from_what(analysis: StudyAnalysis) -> None:
    fields = result_dict(analysis)
    assert fields["pool"]["sha256"] == analysis.manifest.sha256()
    assert fields["study"]["sha256"] == analysis.series.content_sha256()
    assert fields["settings"]["sha256"] == FAST.sha256()
    assert fields["notice"] == "Research use only. Not for diagnosis."
    first = fields["slices"][0]
    best = min((row for row in first["members"] if row["eligible"]), key=lambda row: row["u_pp"])
    assert (first["chosen"], first["u_pp"]) == (best["id"], best["u_pp"])
    assert first["area_mm2"] == pytest.approx(int(analysis.slices[0].mask.sum()) * 1.9**2)


def test_files_are_written_whole_and_always_the_same(analysis: StudyAnalysis, tmp_path: Path) -> None:
    first, second = (write_results(analysis, tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in first] == ["maps.npz", "members.npz", "members.png", "overlay.png", "result.json"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    with np.load(tmp_path / "one" / "maps.npz") as maps:
        assert np.array_equal(maps["mask"], analysis.masks)
        assert np.array_equal(maps["uncertainty"], analysis.uncertainties)
        assert maps["probability"].shape == (2, 96, 80)
    with np.load(tmp_path / "one" / "members.npz") as members:
        chosen = list(members["ids"]).index(analysis.slices[1].selection.chosen)
        assert np.array_equal(members["mask"][chosen, 1], analysis.masks[1])


def test_an_earlier_result_is_replaced_and_nothing_else_is(analysis: StudyAnalysis, tmp_path: Path) -> None:
    write_results(analysis, tmp_path / "out")
    write_results(analysis, tmp_path / "out")
    (tmp_path / "out" / "thesis.docx").touch()
    with pytest.raises(OutputError, match=r"must be new, empty or an earlier result; found thesis.docx\. Give another"):
        check_writable(tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be a folder; found a file"):
        write_results(analysis, tmp_path / "file")


def test_a_failure_while_writing_leaves_nothing_behind(
    analysis: StudyAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: StudyAnalysis) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pool.results.result_json", full_disk)
    with pytest.raises(OutputError, match="must be writable; found No space left on device"):
        write_results(analysis, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_survives_a_failed_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "result.json").write_text("earlier")
    rename = Path.rename

    def fail_for_staging(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_staging)
    with pytest.raises(OutputError, match="must be writable; found Input/output error"), whole_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "result.json").read_text() == "earlier"


def test_a_folder_in_an_unwritable_place_is_filled_file_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mounted"
    out.mkdir()
    mkdtemp = tempfile.mkdtemp

    def only_inside(**where: Any) -> str:
        if where["dir"] == tmp_path:
            raise PermissionError(13, "Permission denied")
        return mkdtemp(**where)

    monkeypatch.setattr("pool.output.tempfile.mkdtemp", only_inside)
    with whole_folder(out) as staging:
        (staging / "result.json").write_text("new")
        assert staging.parent == out
    assert [path.name for path in out.iterdir()] == ["result.json"]
    with pytest.raises(OutputError, match="folder new: must be writable"):
        check_writable(tmp_path / "new")


def test_a_folder_given_as_a_link_is_the_folder_it_leads_to(analysis: StudyAnalysis, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_results(analysis, tmp_path / "link")
    assert (tmp_path / "real" / "result.json").is_file()
    assert (tmp_path / "link").is_symlink()


def test_a_slice_without_outline_is_drawn_and_written(analysis: StudyAnalysis) -> None:
    nothing = conclude(analysis.series, prepare(analysis.series), [{}, {}], analysis.manifest, FAST)
    assert overlay_png(nothing).startswith(b"\x89PNG")
    fields = result_dict(nothing)["slices"][0]
    assert (fields["chosen"], fields["u_pp"], fields["contours"]["closed_ring"]) == (None, None, False)
    assert fields["members"][0]["ineligible_reason"] == "gave no answer"
    assert json.dumps(fields, allow_nan=False)


def test_the_command_line_analyses_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pool(tmp_path / "pool", 2)
    study = write_npz(tmp_path / "study.npz", bolus_series())
    arguments = [
        "analyse",
        str(study),
        "--pool",
        str(tmp_path / "pool"),
        "--out",
        str(tmp_path / "out"),
        "--threads",
        "2",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr()
    assert "U_pp" in out.out
    assert "member sweeps  [##############################] 2/2" in out.err
    assert json.loads((tmp_path / "out" / "result.json").read_text())["slices"][0]["chosen"] in ("s0-e01", "s1-e01")


def test_the_command_line_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_pool(tmp_path / "pool", 1)
    (tmp_path / "empty.npz").touch()
    arguments = [
        "analyse",
        str(tmp_path / "empty.npz"),
        "--pool",
        str(tmp_path / "pool"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 2
    refusal = "error: file empty.npz: must not be empty; found 0 bytes. Was the copy cut? Copy or export it again.\n"
    assert capsys.readouterr().err == refusal
    assert main([*arguments, "--device", "warp"]) == 2
    assert "--device: must be a device torch can use here; found 'warp'" in capsys.readouterr().err
    assert main([*arguments, "--threads", "0"]) == 2
    assert not (tmp_path / "out").exists()


def test_dice_worked_out_by_hand() -> None:
    a = np.array([[1, 1, 0, 0]], bool)
    b = np.array([[0, 1, 1, 1]], bool)
    none = np.zeros((1, 4), bool)
    assert dice(a, b) == pytest.approx(2 * 1 / 5)
    assert dice(none, b) == 0.0
    assert dice(none, none) == 1.0
