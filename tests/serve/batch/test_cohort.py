"""What counts as a study, and what it is called."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path

import pytest

from pool.errors import EmptyStudyError, SettingsError
from serve.batch.cohort import find_studies, fingerprint, with_pseudonyms


def touch(folder: Path, *places: str) -> Path:
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_an_entry_is_a_study_and_a_folder_is_one_with_all_below_it(tmp_path: Path) -> None:
    touch(tmp_path, "P1/series1/a.dcm", "P1/series2/b.dcm", "P2/IM0001", "P3.zip", "P4.nii.gz", "P5.mat", "notes.txt")
    assert find_studies(tmp_path, 1) == ["P1", "P2", "P3.zip", "P4.nii.gz", "P5.mat"]


def test_sites_hold_patients_at_depth_two(tmp_path: Path) -> None:
    touch(tmp_path, "Lyon/P1/a.dcm", "Lyon/P2/b.dcm", "Oslo/P1/x/c.dcm", "Oslo/P7.npz", ".hidden/P1/a.dcm")
    assert find_studies(tmp_path, 2) == ["Lyon/P1", "Lyon/P2", "Oslo/P1", "Oslo/P7.npz"]
    assert find_studies(tmp_path, 1) == ["Lyon", "Oslo"]


def test_a_folder_of_arrays_alone_holds_a_study_a_file_and_truth_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "study-0001/series.npz", "study-0001/truth.npz", "two/a.npz", "two/b.mat", "mixed/a.npz", "mixed/n")
    touch(tmp_path, "manifest.json", "truth.npz")
    assert find_studies(tmp_path, 1) == ["mixed", "study-0001/series.npz", "two/a.npz", "two/b.mat"]


def test_a_folder_without_studies_is_refused_with_the_depth(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(EmptyStudyError, match=r"at least one study; found none\. Is --depth 3 the level at which"):
        find_studies(tmp_path, 3)
    with pytest.raises(SettingsError, match="--depth must be at least 1; found 0"):
        find_studies(tmp_path, 0)
    with pytest.raises(SettingsError, match="must be a folder that can be listed to its bottom; found No such file"):
        find_studies(tmp_path / "none", 1)


def test_pseudonyms_stay_in_one_results_folder_differ_in_another_and_the_key_is_the_owners(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = with_pseudonyms(tmp_path, ["SMITH", "DOE"], tmp_path / "one")
    again = with_pseudonyms(tmp_path, ["NEW", "DOE"], tmp_path / "one")
    other = with_pseudonyms(tmp_path, ["SMITH", "DOE"], tmp_path / "two")
    ids = {study.place: study.id for study in first}
    assert {study.place: study.id for study in again}["DOE"] == ids["DOE"]
    assert not set(ids.values()) & {study.id for study in other}
    assert [study.id for study in first] == sorted(ids.values())
    with (tmp_path / "one" / "key.csv").open(newline="") as file:
        key = {row["place"]: row["study"] for row in csv.DictReader(file)}
    assert set(key) == {"SMITH", "DOE", "NEW"}
    assert key["SMITH"] == ids["SMITH"]
    for secret in ("key.csv", ".salt"):
        assert stat.S_IMODE((tmp_path / "one" / secret).stat().st_mode) == 0o600


def test_a_fingerprint_changes_with_what_is_exported_again(tmp_path: Path) -> None:
    touch(tmp_path, "P1/a", "P1/b")
    before = fingerprint(tmp_path / "P1")
    assert fingerprint(tmp_path / "P1") == before
    (tmp_path / "P1" / "b").write_bytes(b"xy")
    longer = fingerprint(tmp_path / "P1")
    os.utime(tmp_path / "P1" / "a", ns=(0, 2**62))
    touched = fingerprint(tmp_path / "P1")
    touch(tmp_path, "P1/c")
    assert len({before, longer, touched, fingerprint(tmp_path / "P1")}) == 4
