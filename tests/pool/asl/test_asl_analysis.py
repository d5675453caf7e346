"""One ASL study from file to result, by a mixed pool of two kinds of member."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pool.__main__ import main
from pool.asl.analysis import AslAnalysisSettings, analyse_asl, mean_control
from pool.asl.result import write_asl_result
from pool.asl.series import AslSeries
from pool.errors import InconsistentStudyError, NonFiniteError, SettingsError, UnreadableFileError
from pool.member import Pool
from pool.networks import NetworkSpec
from pool.perfusion.asl import measure_asl
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import sampler_of
from pool.trials.settings import TrialSettings
from tests.samples import tiny_pool

SETTINGS = AslAnalysisSettings(TrialSettings(4, batch_size=4))


def test_the_result_is_the_chosen_members_answer_and_flow_in_its_outline(study: Path, mixed: Path) -> None:
    series, pool = AslSeries.load(study), Pool.load(mixed)
    found = analyse_asl(series, pool, SETTINGS)
    assert found.selection.chosen == "prob-unet"
    sums = run_trials(sampler_of(pool.members[1].network), mean_control(series.control), SETTINGS.trials)
    assert sums is not None
    alone = TrialMaps.of(sums)
    assert np.array_equal(found.mask, alone.mask)
    assert np.array_equal(found.uncertainty, alone.uncertainty)
    assert found.mcd_uncertainty == alone.mcd_uncertainty
    assert series.baseline is not None
    assert series.ti_s is not None
    whole = measure_asl(series.control, series.labelled, series.baseline, series.ti_s, [alone.mask])
    assert found.no_flow == ""
    assert found.flow[0].name == "myocardium"
    assert found.flow[0].mbf_ml_min_g == pytest.approx(float(whole.mbf_ml_min_g[0]))
    refused = analyse_asl(replace(series, flow_refused="it has no sign", remarks=("read so",)), pool, SETTINGS)
    assert (refused.flow, refused.no_flow) == ((), "it has no sign")
    assert refused.to_dict()["study"]["remarks"] == ["read so"]
    without = analyse_asl(replace(series, baseline=None), pool, SETTINGS)
    assert without.flow == ()
    assert without.no_flow == "flow needs a baseline image and inversion times"


def test_the_command_leaves_a_result_of_the_same_bytes(
    study: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["asl", str(study), "--pool", str(mixed), "--out", str(tmp_path / "out")]
    assert main(words) == 0  # as many trials as the members were calibrated with
    said = capsys.readouterr().out
    assert "chosen: prob-unet" in said
    assert "compared: expected Dice of 1 mcd-unet by mcd_uncertainty, learned on 30 images; 1 prob-unet" in said
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"maps.npz", "overlay.png", "result.json"}
    result = json.loads(files["result.json"])
    assert result["selection"]["chosen"] == "prob-unet"
    assert result["selection"]["rule"] == "max-expected-dice"
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        assert int(maps["mask"].sum()) == result["n_myocardium_px"]
        assert set(maps) == {"mask", "uncertainty"} | {
            f"{name}-{kind}" for name in ("mask", "uncertainty") for kind in ("mcd-unet", "prob-unet")
        }
    assert result["settings"]["trials"]["n_trials"] == 4
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_members_without_calibration_leave_no_outline_and_patches_are_refused(study: Path, tmp_path: Path) -> None:
    series = AslSeries.load(study)
    tiny_pool(tmp_path / "raw", 1, NetworkSpec("mcd-unet", 4, 2, 1, 3))
    found = analyse_asl(series, Pool.load(tmp_path / "raw"), SETTINGS)
    assert found.selection.chosen is None
    assert "has no calibration" in found.selection.reason
    assert not found.mask.any()
    assert np.isnan(found.uncertainty).all()
    assert found.no_flow == "there is no outline"
    tiny_pool(tmp_path / "patches", 1)
    with pytest.raises(SettingsError, match="pool tiny: needs members of trials for ASL; found patches alone"):
        analyse_asl(series, Pool.load(tmp_path / "patches"), SETTINGS)


def test_the_field_strength_is_the_users_then_the_studys_then_that_of_the_paper(study: Path) -> None:
    assert AslSeries.load(study).field_t is None
    by_study, by_user = SETTINGS, replace(SETTINGS, field_t=3.0)
    assert by_study.values_for(None).field_t == 3.0
    assert by_study.values_for(1.5).t1_s < by_study.values_for(None).t1_s
    assert by_user.values_for(1.5) == by_study.values_for(None)
    with pytest.raises(SettingsError, match="found 7 T"):
        replace(SETTINGS, field_t=7.0)


def test_flow_is_read_at_the_studys_field_and_refused_at_one_that_is_not_tabulated(study: Path, mixed: Path) -> None:
    series, pool = AslSeries.load(study), Pool.load(mixed)
    at_three, at_low = (analyse_asl(replace(series, field_t=field), pool, SETTINGS) for field in (3.0, 1.5))
    assert at_low.flow[0].mbf_ml_min_g != at_three.flow[0].mbf_ml_min_g
    assert (at_low.to_dict()["field_t"], at_three.to_dict()["field_t"]) == (1.5, 3.0)
    strange = analyse_asl(replace(series, field_t=7.0), pool, SETTINGS)
    assert (strange.flow, strange.to_dict()["field_t"]) == ((), None)
    assert "found 7 T" in strange.no_flow


@pytest.mark.parametrize("scale", [1e-30, 1e-8])
def test_flow_that_is_no_number_is_a_reason(study: Path, mixed: Path, tmp_path: Path, scale: float) -> None:
    """A baseline that is so dark beside the images belongs to others."""
    series = AslSeries.load(study)
    assert series.baseline is not None
    dark = replace(series, baseline=np.full_like(series.baseline, scale))
    found = analyse_asl(dark, Pool.load(mixed), SETTINGS)
    assert found.flow == ()
    assert found.no_flow == "flow came out as no number: are baseline and inversion times those of these images?"
    write_asl_result(found, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "result.json").read_text())["no_flow"] == found.no_flow


def test_bad_files_are_refused_in_a_sentence(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = AslSeries.load(study)
    with pytest.raises(InconsistentStudyError, match="needs control and labelled images, pairs of one size"):
        replace(good, labelled=good.labelled[:2])
    with pytest.raises(InconsistentStudyError, match="needs a baseline of the images' size"):
        replace(good, baseline=np.ones((3, 3), np.float32))
    with pytest.raises(InconsistentStudyError, match="needs two inversion times a pair"):
        replace(good, ti_s=np.ones(6))
    with pytest.raises(InconsistentStudyError, match="pixel spacing between 0 and 100 mm"):
        replace(good, pixel_spacing_mm=(0.0, 2.0))
    with pytest.raises(NonFiniteError, match="must be a finite number"):
        replace(good, control=good.control * np.nan)
    np.savez(tmp_path / "half.npz", control=good.control)
    with pytest.raises(UnreadableFileError, match="file half.npz: must hold control, .*; found no labelled"):
        AslSeries.load(tmp_path / "half.npz")
    (tmp_path / "cut.npz").write_bytes(study.read_bytes()[:1000])
    with pytest.raises(UnreadableFileError, match="must be a whole, readable .npz file"):
        AslSeries.load(tmp_path / "cut.npz")
    assert main(["asl", str(tmp_path / "x.dcm"), "--pool", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert main(["phantom", "--asl", "--dual-bolus", "--out", str(tmp_path / "p")]) == 2
    assert "--asl: goes without --dual-bolus and --frames" in capsys.readouterr().err
