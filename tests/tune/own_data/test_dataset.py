"""From a folder to a set with one command: what goes in comes out, and what does not fit is a row with its reason."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pool.inputs import open_study
from pool.labelled_set import LabelledSet
from pool.preprocess import prepare
from tests.tune.own_data.conftest import mask_nifti, ring, study_npz
from tune.__main__ import app
from tune.own_data.patients import pseudonym

Studies = Callable[..., Path]


def run(studies: Path, *arguments: object) -> Result:
    words = ["dataset", "--studies", str(studies), "--out", str(studies.parent / "set"), *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "300"})


def made(studies: Path) -> LabelledSet:
    return LabelledSet.open(studies.parent / "set", verify=True)


def refused(result: Result, studies: Path, text: str) -> None:
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "Traceback" not in result.output
    assert not (studies.parent / "set").exists()


def rows(result: Result) -> list[list[str]]:
    """The cells of the table of rejections."""
    lines = [line for line in result.output.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def split_csv(studies: Path, *lines: str) -> Path:
    path = studies.parent / "split.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_prepared_frames_labels_and_pseudonyms(studies: Studies) -> None:
    folder = studies()
    result = run(folder, "--salt", "s")
    assert result.exit_code == 0, result.output
    found = made(folder)
    assert found.class_names == ("background", "myocardium", "blood pool")
    assert set(found.subject_ids) == {pseudonym(f"Smith{i}", "s") for i in range(3)}
    assert found.split is None
    for i in range(3):
        item = prepare(open_study(folder / f"Smith{i}" / "perfusion.npz").series)[0]
        index = found.subject_ids.index(pseudonym(f"Smith{i}", "s"))
        assert np.array_equal(found[index][0], item.frames.astype(np.float16))
        assert np.array_equal(found[index][1], item.way_back.labels_from_native(ring()))
    assert "Smith" not in (folder.parent / "set" / "manifest.json").read_text()
    assert f"3 slices of 3 patients in {folder.parent / 'set'}: background, myocardium, blood pool" in result.output
    assert "no split declared: each training draws its own, by patient" in result.output
    assert "--salt" not in result.output


def test_the_same_files_give_the_same_set_and_another_salt_other_subjects(studies: Studies) -> None:
    hashes, folder = [], studies(1)
    for name, salt in (("1", "a"), ("2", "a"), ("3", "b")):
        result = run(folder, "--salt", salt, "--out", folder.parent / name)
        assert result.exit_code == 0, result.output
        hashes.append(LabelledSet.open(folder.parent / name).content_sha256())
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_share_of_the_patients_is_held_out(studies: Studies) -> None:
    result = run(studies(4), "--validation-share", 0.25, "--split-seed", 3)
    assert "split by patient: 3 training, 1 validation" in result.output
    assert sorted((made(studies(4)).split or {}).values()) == ["training"] * 3 + ["validation"]


def test_a_csv_names_patients_and_sides(studies: Studies) -> None:
    folder = studies(4)
    path = split_csv(
        folder,
        "file,patient,split",
        "Smith0,A,training",
        "Smith1/perfusion.npz,A,",
        "Smith2/perfusion,,Validation",
    )
    result = run(folder, "--split", path)
    assert result.exit_code == 0, result.output
    assert made(folder).split == {pseudonym("A", ""): "training", pseudonym("Smith2", ""): "validation"}
    assert made(folder).subject_ids.count(pseudonym("A", "")) == 2
    assert rows(result) == [
        [
            "Smith3/perfusion.npz",
            "study",
            "needs a side, as the CSV declares the split",
            "none",
            "Add its row to the CSV.",
        ]
    ]


def test_csvs_that_contradict_themselves_are_refused(studies: Studies) -> None:
    folder = studies()
    head = "file,patient,split"
    for lines, text in (
        ([head, "Smith0,A,training", "Smith1,A,validation"], "--split: a patient is on one side; found that of Smith1"),
        ([head, "Smith0,,training", "Smith1,,training", "Smith2,,training"], "needs at least one validation subject"),
        ([head, "Smith0,,test"], "file split.csv: split is training or validation; found line 2: 'test'."),
        ([head, "Smith9,,training"], "--split: every file must be a study of --studies; found Smith9."),
        ([head, "Smith0,A,training", "Smith0,B,training"], "names every file once; found line 3: again."),
        (["name,side", "a,b"], "file split.csv: needs the columns file, patient, split; found name, side."),
    ):
        refused(run(folder, "--split", split_csv(folder, *lines)), folder, text)
    path = split_csv(folder, head, "Smith0,,training")
    refused(
        run(folder, "--split", path, "--validation-share", 0.5), folder, "by the CSV or drawn by --validation-share"
    )
    refused(
        run(folder, "--split", folder.parent / "none.csv"), folder, "must be a readable CSV file; found FileNotFound"
    )
    refused(run(folder, "--validation-share", 1.5), folder, "--validation-share: must lie between 0 and 1; found 1.5.")


def test_what_does_not_fit_is_a_row_and_the_rest_goes_on(studies: Studies) -> None:
    folder = studies()
    study_npz(folder / "no-mask" / "s.npz", 10)
    mask_nifti(folder / "no-study" / "m.nii")
    for i, (name, classes) in enumerate(
        {
            "other-size": ring()[:-1],
            "undeclared": ring() * 3,
            "empty": ring() * 0,
            "moved": np.roll(ring(), -45, 0),
        }.items()
    ):
        study_npz(folder / name / "s.npz", 20 + i)
        mask_nifti(folder / name / "m.nii", classes)
    study_npz(folder / "twin" / "s.npz", 1)
    mask_nifti(folder / "twin" / "m.nii")
    (folder / "cut").mkdir()
    (folder / "cut" / "s.npz").write_bytes(b"PK")
    mask_nifti(folder / "cut" / "m.nii")
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert len(made(folder)) == 3
    found = {re.split("[./]", row[0])[0]: row[1:] for row in rows(result)}
    assert {name: (cells[0], cells[2]) for name, cells in found.items() if not name.startswith(("twin", "Smith"))} == {
        "no-mask": ("study", "none"),
        "no-study": ("mask m.nii", "none"),
        "other-size": ("mask m.nii", "(1, 95, 80)"),
        "undeclared": ("mask m.nii", "3, 6"),
        "empty": ("mask m.nii", "none"),
        "moved": ("slice slice-1", found["moved"][2]),
        "cut": ("file s.npz", "BadZipFile while reading it"),
    }
    assert found["moved"][2].endswith("% of it outside")
    (twin,) = [cells for name, cells in found.items() if name.startswith(("twin", "Smith"))]
    assert twin[:3] == ["study", "may be in the set once", "the same frames under another patient"]
    assert "rejected: 8" in result.output
    refused(
        CliRunner().invoke(app, ["dataset", "--studies", str(folder), "--out", str(folder.parent / "s2"), "--strict"]),
        folder.parent / "x" / "y",
        "dataset: --strict allows no rejected study or slice; found 8. Mend or remove them.",
    )
    assert not (folder.parent / "s2").exists()


def test_masks_without_blood_pool_make_two_classes(studies: Studies) -> None:
    folder = studies(2)
    mask_nifti(folder / "Smith1" / "mask.nii.gz", ring(blood_pool=False))
    result = run(folder)
    assert "1 of 2 masks have no blood pool: the set has two classes, background and myocardium" in result.output
    found = made(folder)
    assert found.class_names == ("background", "myocardium")
    assert max(int(labels.max()) for labels in found.labels) == 1


def test_values_are_declared_and_nothing_usable_is_an_error(studies: Studies) -> None:
    folder = studies()
    refused(
        run(folder, "--labels", "myocardium=7"), folder, "needs at least one usable study with a mask; found none of 3"
    )
    refused(run(folder, "--labels", "wall"), folder, "must be class=value pairs of background, myocardium, blood-pool")
    result = run(folder, "--labels", "myocardium=2,background=1")
    assert result.exit_code == 0, result.output
    assert made(folder).manifest["origin"]["labels"] == {"1": "background", "2": "myocardium"}


def test_one_patient_cannot_be_split(studies: Studies) -> None:
    refused(
        run(studies(1), "--validation-share", 0.5), studies(1), "needs at least 2 subjects, one of them for validation"
    )


def test_a_full_disk_leaves_nothing(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pool.labelled_set_writer.np.save", full)
    folder = studies()
    refused(run(folder), folder, "folder set: must be writable, with room for the set; found No space left on device.")


def test_a_folder_in_use_is_refused_and_left_alone(studies: Studies) -> None:
    folder = studies()
    (folder.parent / "set").mkdir()
    (folder.parent / "set" / "note.txt").touch()
    result = run(folder)
    assert result.exit_code == 2
    assert "folder set: must be new or empty" in result.output
    assert [path.name for path in (folder.parent / "set").iterdir()] == ["note.txt"]
