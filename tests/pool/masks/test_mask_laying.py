"""Masks come onto the slices that they were drawn on, whatever way round their file stores them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.io import savemat

from pool.errors import MaskError, PoolError, SettingsError
from pool.inputs import StudyInput, open_study
from pool.masks.files import read_mask_file
from pool.masks.study import prepared_labels, read_labels
from pool.masks.values import MaskValues
from pool.preprocess import prepare
from pool.series import PerfusionSeries, SliceGeometry, names_of_slices
from tests.pool.dicom import dicom_samples as samples
from tests.samples import bolus_series, write_npz

GRID = (3, samples.ROWS, samples.COLS)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def placed_study(**changes: Any) -> StudyInput:
    """Three slices that lie as those of `dicom_samples`."""
    frames = np.random.default_rng(1).random((3, samples.N_FRAMES, samples.ROWS, samples.COLS)).astype(np.float32)
    geometry = tuple(SliceGeometry(samples.position(s), samples.ORIENTATION) for s in range(3))
    times = np.tile(np.arange(float(samples.N_FRAMES)), (3, 1))
    series = PerfusionSeries(frames, times, (samples.ROW_MM, samples.COL_MM), names_of_slices(3), geometry)
    return StudyInput(replace(series, **changes))


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def mirrored_affine() -> np.ndarray:
    """Columns backwards and slices from the apex, in NIfTI's RAS: voxel (i, j, k) is column 15 - i, slice 2 - k."""
    along_row, along_col, to_apex = (
        np.array(v) for v in (samples.ORIENTATION[:3], samples.ORIENTATION[3:], samples.TOWARDS_APEX)
    )
    affine = np.eye(4)
    affine[:3, 0] = -along_row * samples.COL_MM
    affine[:3, 1] = along_col * samples.ROW_MM
    affine[:3, 2] = -to_apex * samples.GAP_MM
    affine[:3, 3] = np.array(samples.position(2)) + along_row * samples.COL_MM * (samples.COLS - 1)
    return TO_RAS @ affine


def test_a_nifti_mask_is_laid_by_its_place_in_the_patient(tmp_path: Path) -> None:
    """On paper: base, row 4, column 9 is at (-25.6, 20.8, 50) (see the writer's test), here voxel (6, 4, 2)."""
    voxels = np.zeros((samples.COLS, samples.ROWS, 3), np.uint8)
    voxels[6, 4, 2], voxels[7, 4, 2] = 1, 2
    affine = mirrored_affine()
    assert np.allclose((TO_RAS @ affine @ [6, 4, 2, 1])[:3], [-25.6, 20.8, 50.0])
    laid = read_labels(placed_study(), [nifti(tmp_path / "mask.nii.gz", voxels, affine)])
    assert np.argwhere(laid.classes == 1).tolist() == [[0, 4, 9]]
    assert np.argwhere(laid.classes == 2).tolist() == [[0, 4, 8]]
    assert laid.remarks == ("laid by position in the patient",)


def test_a_finer_mask_of_one_slice_is_laid_on_that_slice(tmp_path: Path) -> None:
    """Twice the resolution: native pixel (4, 9) of the middle slice holds the fine voxels (18 and 19, 8 and 9)."""
    fine = mirrored_affine()
    fine[:, 3] = TO_RAS @ [*samples.position(1), 1]
    fine[:, 0] *= -1
    offset = fine[:, 0] * -0.25 + fine[:, 1] * -0.25
    fine[:, :2] /= 2
    fine[:3, 3] += offset[:3]
    voxels = np.zeros((2 * samples.COLS, 2 * samples.ROWS, 1), np.int16)
    voxels[18:20, 8:10, 0] = 1
    laid = read_labels(placed_study(), [nifti(tmp_path / "mask.nii", voxels, fine)])
    assert np.argwhere(laid.classes).tolist() == [[1, 4, 9]]


@pytest.mark.parametrize("affine", [None, np.eye(4), np.diag([2.0, 2.5, 10.0, 1.0])])
def test_a_mask_that_knows_no_place_is_laid_by_order(tmp_path: Path, affine: np.ndarray | None) -> None:
    voxels = np.zeros((samples.COLS, samples.ROWS, 3), np.float32)
    voxels[9, 4, 0] = 1
    path = nifti(tmp_path / "mask.nii.gz", voxels, affine)
    laid = read_labels(placed_study(), [path])
    assert np.argwhere(laid.classes).tolist() == [[0, 4, 9]]
    assert laid.remarks == ("laid by the order of rows, columns and slices, as mask or study knows no position",)
    turned = read_labels(placed_study(flipped=(True, False)), [path])
    assert np.argwhere(turned.classes).tolist() == [[0, samples.ROWS - 1 - 4, 9]]


def test_masks_that_do_not_fit_are_refused_in_words(tmp_path: Path) -> None:
    shape = (samples.COLS, samples.ROWS, 3)
    ones = np.ones(shape, np.uint8)
    elsewhere, tilted = mirrored_affine(), mirrored_affine()
    elsewhere[2, 3] += 500
    tilted[:3, :3] = np.diag([2.0, 2.5, 10.0])
    cases = [
        (ones[:-1], None, r"mask m.nii: without a place in the patient it must have the size \(3, 12, 16\)"),
        (ones, elsewhere, "mask m.nii: must lie on the slices of its study; found another place in the patient."),
        (ones, tilted, "planes must be parallel to the slices of the study; found 37 degrees between them."),
        (ones * 4, None, "values must be declared: 0, 1, 2 are; found 4. Declare them, e.g. --labels myo"),
        (ones * np.float32(0.5), None, "values must be whole numbers; found fractions."),
        (ones * 0, None, "mask m.nii: needs myocardium on at least one slice; found none. Is it the right file?"),
        (ones * 2, None, "needs myocardium on at least one slice; found none."),
        (np.stack([ones, ones], axis=3), None, r"must be 3D: x y slice; found shape \(16, 12, 3, 2\)."),
    ]
    for voxels, affine, text in cases:
        with pytest.raises(MaskError, match=text):
            read_labels(placed_study(), [nifti(tmp_path / "m.nii", voxels, affine)])
    whole = nifti(tmp_path / "m.nii", ones).read_bytes()
    (tmp_path / "m.nii").write_bytes(whole[:400])
    with pytest.raises(MaskError, match="mask m.nii: must be a whole, readable file; found .* while reading it."):
        read_labels(placed_study(), [tmp_path / "m.nii"])
    with pytest.raises(MaskError, match="study: needs a mask; found none. Put its mask beside it."):
        read_labels(placed_study(), [])


def test_several_files_may_share_a_study_but_not_a_slice(tmp_path: Path) -> None:
    paths = []
    for k in range(2):
        voxels = np.zeros((samples.COLS, samples.ROWS, 3), np.uint8)
        voxels[9, 4, k], voxels[2, 2, 2] = 1, 2
        paths.append(nifti(tmp_path / f"reader-{k}.nii", voxels))
    laid = read_labels(placed_study(), paths)
    assert np.argwhere(laid.classes == 1).tolist() == [[0, 4, 9], [1, 4, 9]]
    with pytest.raises(MaskError, match="slice base: may be outlined by one mask file; found 2. Keep one reader's"):
        read_labels(placed_study(), [paths[0], paths[0]])


def test_values_are_declared(tmp_path: Path) -> None:
    values = MaskValues.parse("myocardium=5,blood-pool=2+3,background=9")
    path = tmp_path / "m.npz"
    np.savez(path, labels=np.array([[[5, 2], [3, 9]]]))
    assert read_mask_file(path, values).classes.tolist() == [[[1, 2], [2, 0]]]
    for text, message in (
        ("myocardium", "labels: must be class=value pairs of background, myocardium, blood-pool; found 'myocardium'."),
        ("scar=4", "found 'scar=4'. For example"),
        ("blood-pool=2", "labels: must say which value is myocardium; found none."),
        ("myocardium=1,blood-pool=1", "labels: a value may have one class; found 1 twice."),
        ("myocardium=0", "labels: 0 is background; found 0 as myocardium."),
    ):
        with pytest.raises(SettingsError, match=message):
            MaskValues.parse(text)


def test_mat_and_npz_masks(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [3, 1]], np.uint8)
    savemat(tmp_path / "m.mat", {"final_mask": mask})
    assert read_mask_file(tmp_path / "m.mat").classes.tolist() == [[[0, 1], [2, 1]]]
    savemat(tmp_path / "l.mat", {"final_mask": mask == 1})
    assert read_mask_file(tmp_path / "l.mat").classes.tolist() == [[[0, 1], [0, 1]]]
    np.savez(tmp_path / "m.npz", labels=np.array([mask == 1]))
    assert read_mask_file(tmp_path / "m.npz").classes.tolist() == [[[0, 1], [0, 1]]]
    savemat(tmp_path / "n.mat", {"other": mask})
    np.savez(tmp_path / "n.npz", other=mask)
    np.savez(tmp_path / "t.npz", labels=np.array("text"))
    for name, message in (
        ("n.mat", r"mask n.mat: needs final_mask \(row col\); found none. Save the labels under this name."),
        ("n.npz", r"mask n.npz: needs labels \(slice row col\); found none."),
        ("t.npz", r"mask t.npz: needs labels \(slice row col\); found <U4 \(\)."),
    ):
        with pytest.raises(MaskError, match=message):
            read_mask_file(tmp_path / name)
    savemat(tmp_path / "v.mat", {"final_mask": np.zeros((2, 2, 2))})
    with pytest.raises(PoolError, match=r"final_mask must be real numbers of shape row col; found shape \(2, 2, 2\)."):
        read_mask_file(tmp_path / "v.mat")


def test_labels_follow_their_slice_onto_the_prepared_grid(tmp_path: Path) -> None:
    """1.9 mm: every native pixel becomes 2 x 2 prepared ones, so areas are four times as large."""
    study = open_study(write_npz(tmp_path / "study.npz", bolus_series()))
    rows, cols = np.indices((96, 80))
    distance = np.hypot(rows - 50, cols - 42) * 1.9
    classes = np.where(distance < 22, 2, np.where(distance < 32, 1, 0)).astype(np.uint8)
    item = prepare(study.series)[0]
    labels = prepared_labels(item, classes)
    assert [int((labels == c).sum()) for c in (1, 2)] == [4 * int((classes == c).sum()) for c in (1, 2)]
    bright = item.frames[int(0.45 * 29)]
    assert bright[labels == 2].min() > bright[labels == 0].max()
    with pytest.raises(MaskError, match="slice slice-1: needs myocardium in its mask; found none. Outline it"):
        prepared_labels(item, np.where(classes == 1, 0, classes))
    with pytest.raises(MaskError, match="must lie within the crop about the heart; found 1?[0-9]{2}% of it outside."):
        prepared_labels(item, np.roll(classes, -45, axis=0))
