"""A phantom study as DICOM, its truth drawn as ITK-SNAP, a SEG writer and the phantom store it: the same labels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from typer.testing import CliRunner

from pool.dicom.derived import Origin
from pool.dicom.segmentation import write_segmentation
from pool.inputs import open_study
from pool.labelled_set import LabelledSet
from pool.phantom.dicom_files import write_dicom_study, write_truth
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy
from pool.preprocess import PreparedSlice, prepare
from pool.shapes import BLOOD_POOL, MYOCARDIUM
from tune.__main__ import app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def phantom() -> PhantomStudy:
    torch.set_num_threads(1)
    return make_study(get_preset("exD-1"), seed=5, n_frames=24)


@pytest.fixture(scope="module")
def dicom(phantom: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "dicom"
    write_dicom_study(phantom, folder, "siemens-xa")
    return folder


@pytest.fixture(scope="module")
def prepared(dicom: Path) -> tuple[PreparedSlice, ...]:
    return prepare(open_study(dicom).series)


def write_nifti(phantom: PhantomStudy, dicom: Path, path: Path) -> None:
    """As dcm2niix and ITK-SNAP store it: rows upside down, and an affine that says so; from the headers alone."""
    headers = [pydicom.dcmread(dicom / f"{name}.dcm", stop_before_pixels=True) for name in ("base", "mid", "apex")]
    shared = headers[0].SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, dtype=float)
    first, _, last = (
        np.array(h.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for h in headers
    )
    n_rows = phantom.labels.shape[1]
    lps = np.eye(4)
    lps[:3, 0] = orientation[:3] * spacing[1]
    lps[:3, 1] = -orientation[3:] * spacing[0]
    lps[:3, 2] = (last - first) / 2
    lps[:3, 3] = first + orientation[3:] * spacing[0] * (n_rows - 1)
    voxels = phantom.labels[:, ::-1].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps), path)


def write_seg(phantom: PhantomStudy, dicom: Path, path: Path) -> None:
    study = open_study(dicom).dicom
    assert study is not None
    myocardium, blood = phantom.labels == MYOCARDIUM, phantom.labels == BLOOD_POOL
    write_segmentation(path, study, myocardium, lv_blood=blood, origin=Origin("i", "ab" * 32, "0.1.0"))


@pytest.mark.parametrize("kind", ["truth.npz", "mask.nii.gz", "seg.dcm"])
def test_the_labels_that_come_back_are_the_truth(
    phantom: PhantomStudy, dicom: Path, prepared: tuple[PreparedSlice, ...], kind: str, tmp_path: Path
) -> None:
    patient = tmp_path / "studies" / "Doe^Jane"
    patient.mkdir(parents=True)
    (patient / "dicom").symlink_to(dicom)
    if kind == "truth.npz":
        write_truth(phantom, patient)
    else:
        (write_nifti if kind == "mask.nii.gz" else write_seg)(phantom, dicom, patient / kind)
    arguments = ["dataset", "--studies", str(patient.parent), "--out", str(tmp_path / "set"), "--salt", "secret"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    laid = "order of rows" if kind == "truth.npz" else "position in the patient"
    assert f"1 study: laid by the {laid}" in result.output or f"1 study: laid by {laid}" in result.output
    made = LabelledSet.open(tmp_path / "set", verify=True)
    assert made.level_names == ("base", "mid", "apex")
    for (frames, labels), item, truth in zip((made[i] for i in range(3)), prepared, phantom.labels, strict=True):
        assert np.array_equal(frames, item.frames.astype(np.float16))
        assert np.array_equal(labels, item.way_back.labels_from_native(truth))
        assert {1, 2} <= set(np.unique(labels))
    assert "Doe" not in (tmp_path / "set" / "manifest.json").read_text()
