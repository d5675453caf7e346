"""Which files are a study, which its masks, and whose."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pool.dicom.segmentation_masks import SEGMENTATION_CLASS
from pool.errors import EmptyStudyError, UnreadableFileError
from tests.pool.dicom import dicom_samples as samples
from tests.tune.own_data.conftest import mask_nifti, study_npz
from tune.own_data.kinds import Kind, kind_of, stem_of
from tune.own_data.layout import FoundStudy, find_studies
from tune.own_data.patients import level_of_name, patient_of_name


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return samples.write(path, samples.classic(0, int(path.stem)))


def seg(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = samples.classic(0, 0)
    dataset.SOPClassUID = SEGMENTATION_CLASS
    return samples.write(path, dataset)


def in_words(found: list[FoundStudy], root: Path) -> list[str]:
    def names(paths: tuple[Path, ...]) -> str:
        return "+".join(sorted(path.relative_to(root).as_posix() for path in paths))

    return [
        f"{s.patient}: {s.key} refused: {s.problem.subject} {s.problem.rule}"
        if s.problem
        else f"{s.patient}: {names(s.sources)} | {names(s.masks)}"
        for s in found
    ]


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", labels=np.zeros((1, 2, 2)))
    np.savez(tmp_path / "maps.npz", maps=np.zeros(2))
    savemat(tmp_path / "image.mat", {"final_img": np.zeros((2, 2, 2))})
    savemat(tmp_path / "mask.mat", {"final_mask": np.zeros((2, 2))})
    kinds = {
        study_npz(tmp_path / "study.npz"): Kind.STUDY,
        tmp_path / "labels.npz": Kind.MASK,
        tmp_path / "maps.npz": Kind.OTHER,
        tmp_path / "image.mat": Kind.STUDY,
        tmp_path / "mask.mat": Kind.MASK,
        mask_nifti(tmp_path / "mask.nii.gz"): Kind.MASK,
        image(tmp_path / "1"): Kind.IMAGE,
        seg(tmp_path / "seg"): Kind.MASK,
        touch(tmp_path / "note.txt", b"x" * 200): Kind.OTHER,
        touch(tmp_path / "cut.npz", b"PK"): Kind.STUDY,
        touch(tmp_path / "images.zip"): Kind.STUDY,
    }
    assert {path.name: kind_of(path) for path in kinds} == {path.name: kind for path, kind in kinds.items()}
    assert [stem_of(Path(name)) for name in ("P1.nii.gz", "P1.NPZ", "P1.2", "P1")] == ["P1", "P1", "P1.2", "P1"]


def test_one_sub_folder_a_patient(tmp_path: Path) -> None:
    study_npz(tmp_path / "P1" / "perfusion.npz")
    mask_nifti(tmp_path / "P1" / "reader.nii.gz")
    for t in range(2):
        image(tmp_path / "P2" / "images" / f"{t}.dcm")
    touch(tmp_path / "P2" / "images" / "damaged.dcm", b"?" * 300)
    touch(tmp_path / "P2" / "images" / ".hidden")
    seg(tmp_path / "P2" / "images" / "seg.dcm")
    for state in ("rest", "stress"):
        study_npz(tmp_path / "P3" / state / "s.npz")
    mask_nifti(tmp_path / "P3" / "stress" / "m.nii")
    for level in ("apex", "base"):
        study_npz(tmp_path / "P4" / f"{level}.npz")
    mask_nifti(tmp_path / "P4" / "base-mask.nii")
    mask_nifti(tmp_path / "P4" / "other.nii")
    mask_nifti(tmp_path / "P5" / "mask.nii")
    touch(tmp_path / "P6" / "note.txt")
    image(tmp_path / "P7" / "0.dcm")
    study_npz(tmp_path / "P7" / "s.npz")
    study_npz(tmp_path / "loose.npz")
    touch(tmp_path / "readme.txt")
    assert in_words(find_studies(tmp_path), tmp_path) == [
        "P1: P1/perfusion.npz | P1/reader.nii.gz",
        "P2: P2/images/0.dcm+P2/images/1.dcm+P2/images/damaged.dcm | P2/images/seg.dcm",
        "P3: P3/rest/s.npz | ",
        "P3: P3/stress/s.npz | P3/stress/m.nii",
        "P4: P4/apex.npz | ",
        "P4: P4/base.npz | P4/base-mask.nii",
        "P4: P4/other.nii refused: mask other.nii needs its study",
        "P5: P5/mask.nii refused: mask mask.nii needs its study",
        "P6: P6 refused: folder P6 needs a study",
        "P7: P7 refused: folder P7 may hold one study beside its masks",
        "loose.npz: loose.npz refused: file loose.npz must lie in the sub-folder of its patient",
    ]


def test_images_and_labels_with_equal_names(tmp_path: Path) -> None:
    for name in ("P1-base.npz", "P1-apex.npz", "P2.npz"):
        study_npz(tmp_path / "images" / name)
    image(tmp_path / "images" / "P3" / "0.dcm")
    touch(tmp_path / "images" / "index.csv")
    for name in ("P1-base", "P1-apex", "P9"):
        mask_nifti(tmp_path / "labels" / f"{name}.nii.gz")
    seg(tmp_path / "labels" / "P3" / "seg.dcm")
    found = find_studies(tmp_path)
    assert in_words(found, tmp_path) == [
        "P1: images/P1-apex.npz | labels/P1-apex.nii.gz",
        "P1: images/P1-base.npz | labels/P1-base.nii.gz",
        "P2: images/P2.npz | ",
        "P3: images/P3/0.dcm | labels/P3/seg.dcm",
        "P9.nii.gz: P9.nii.gz refused: mask P9.nii.gz needs its study",
    ]
    again = find_studies(tmp_path / "images", tmp_path / "labels")
    assert in_words(again, tmp_path) == in_words(found, tmp_path)


def test_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyStudyError, match="needs studies: one sub-folder a patient, or images/ and labels/"):
        find_studies(tmp_path)
    with pytest.raises(EmptyStudyError, match="folder nowhere: must exist and be a folder; found none."):
        find_studies(tmp_path, tmp_path / "nowhere")


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_npz(tmp_path / "P1" / "perfusion.npz")

    def forbidden(*_: object, onerror: Callable[[OSError], None], **__: object) -> list[object]:
        onerror(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "P1")))
        return []

    monkeypatch.setattr("tune.own_data.kinds.os.walk", forbidden)
    with pytest.raises(UnreadableFileError, match="folder P1: must be readable, .*; found Permission denied."):
        find_studies(tmp_path)


def test_links_that_go_round_end(tmp_path: Path) -> None:
    study_npz(tmp_path / "P1" / "perfusion.npz")
    (tmp_path / "P1" / "again").symlink_to(tmp_path / "P1")
    assert in_words(find_studies(tmp_path), tmp_path) == ["P1: P1/perfusion.npz | "]


@pytest.mark.parametrize(
    ("stem", "one_slice", "patient", "level"),
    [
        ("Fig5-exD1-Apical", True, "Fig5-exD1", "apex"),
        ("P01_2", True, "P01", None),
        ("P01", True, "P01", None),
        ("P01-stress", False, "P01", None),
        ("P01_base", False, "P01", "base"),
        ("P01_v2", False, "P01", None),
        ("study-0007", False, "study-0007", None),
        ("clinicA_P07", False, "clinicA_P07", None),
        ("site.middle", False, "site.middle", "mid"),
    ],
)
def test_patients_and_levels_in_names(stem: str, one_slice: bool, patient: str, level: str | None) -> None:
    assert patient_of_name(stem, one_slice) == patient
    assert level_of_name(stem) == level
