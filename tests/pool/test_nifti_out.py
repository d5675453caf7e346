"""NIfTI out: on the grid of the input, at its place in the patient, by two other libraries' reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pool.inputs import open_study
from pool.masks.study import read_labels
from pool.nifti import read_nifti
from pool.nifti_out import write_nifti_maps
from pool.series import PerfusionSeries, SliceGeometry
from tests.pool.dicom import dicom_samples as samples

GRID = (3, samples.ROWS, samples.COLS)


def bright() -> np.ndarray:
    """Three pixels, one a slice."""
    mask = np.zeros(GRID, dtype=np.uint8)
    mask[0, 4, 9] = mask[1, 0, 15] = 1
    mask[2, 10, 3] = 2
    return mask


@pytest.fixture
def series(tmp_path: Path) -> PerfusionSeries:
    samples.write_study(tmp_path / "in")
    return open_study(tmp_path / "in").series


def places_ras(path: Path, value: int) -> np.ndarray:
    image = nibabel.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) == value)  # type: ignore[attr-defined]
    return np.round(voxels @ image.affine[:3, :3].T + image.affine[:3, 3], 4)  # type: ignore[attr-defined]


def test_bright_pixels_lie_where_paper_says(tmp_path: Path, series: PerfusionSeries) -> None:
    """LPS of apex row 10, column 3: (-23.2, -2.4, 35); of base row 4, column 9: (-25.6, 20.8, 50). RAS negates x, y."""
    write_nifti_maps(bright(), series, tmp_path, "segmentation", 8.0)
    path = tmp_path / "segmentation.nii.gz"
    np.testing.assert_allclose(places_ras(path, 2), [[23.2, 2.4, 35.0]], atol=1e-3)
    assert [25.6, -20.8, 50.0] in places_ras(path, 1).round(3).tolist()
    image = nibabel.load(path)
    assert image.header.get_zooms() == pytest.approx((2.0, 2.5, 10.0))  # type: ignore[attr-defined]
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)


def test_simpleitk_finds_them_there_too(tmp_path: Path, series: PerfusionSeries) -> None:
    itk = pytest.importorskip("SimpleITK")
    write_nifti_maps(bright(), series, tmp_path, "segmentation", 8.0)
    image = itk.ReadImage(str(tmp_path / "segmentation.nii.gz"))
    (k, j, i) = np.argwhere(itk.GetArrayFromImage(image) == 2)[0]
    place = image.TransformIndexToPhysicalPoint([int(i), int(j), int(k)])  # LPS, as ITK has it
    np.testing.assert_allclose(place, [-23.2, -2.4, 35.0], atol=1e-3)


def test_uneven_slices_get_a_file_each(tmp_path: Path, series: PerfusionSeries) -> None:
    assert series.geometry is not None
    x, y, z = series.geometry[2].position_mm
    moved = SliceGeometry((x + 3, y - 4, z), series.geometry[2].orientation)
    uneven = replace(series, geometry=(*series.geometry[:2], moved))
    write_nifti_maps(bright(), uneven, tmp_path / "in", "segmentation", 8.0)
    names = sorted(path.name for path in (tmp_path / "in").glob("*.nii.gz"))
    assert names == ["segmentation-apex.nii.gz", "segmentation-base.nii.gz", "segmentation-mid.nii.gz"]
    np.testing.assert_allclose(places_ras(tmp_path / "in" / names[0], 2), [[20.2, 6.4, 35.0]], atol=1e-3)
    image = nibabel.load(tmp_path / "in" / names[0])
    assert image.header.get_zooms() == pytest.approx((2.0, 2.5, 8.0))  # type: ignore[attr-defined]


def test_masks_come_back_as_they_went_out(tmp_path: Path, series: PerfusionSeries) -> None:
    write_nifti_maps(bright(), series, tmp_path, "segmentation", 8.0)
    study = open_study(tmp_path / "in")
    np.testing.assert_array_equal(read_labels(study, [tmp_path / "segmentation.nii.gz"]).classes, bright())


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_nifti_study_gets_its_own_grid_back(tmp_path: Path, signs: tuple[int, int]) -> None:
    """However the input's axes are mirrored, the mask has the input's affine, and each voxel its own value."""
    affine = np.diag([1.5 * signs[0], 2.0 * signs[1], 8.0, 1.0])
    affine[:3, 3] = (-20, 30, 10)
    voxels = np.random.default_rng(0).random((10, 12, 3, 9)).astype(np.float32)
    voxels[7, 2, 1] = 1000.0
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.0
    nibabel.save(image, tmp_path / "in.nii.gz")
    series = read_nifti(tmp_path / "in.nii.gz")
    mask = (series.frames[:, 0] == 1000.0).astype(np.uint8)
    write_nifti_maps(mask, series, tmp_path, "segmentation", 8.0)
    made = nibabel.load(tmp_path / "segmentation.nii.gz")
    np.testing.assert_allclose(made.affine, affine, atol=1e-4)  # type: ignore[attr-defined]
    assert np.argwhere(np.asarray(made.dataobj)).tolist() == [[7, 2, 1]]  # type: ignore[attr-defined]


def test_maps_keep_their_values_and_bytes(tmp_path: Path, series: PerfusionSeries) -> None:
    values = np.random.default_rng(1).random(GRID).astype(np.float32)
    values[1] = np.nan
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_nifti_maps(values, series, tmp_path / name, "umap", 8.0)
    made = np.asarray(nibabel.load(tmp_path / "a" / "umap.nii.gz").dataobj)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(made.transpose(2, 1, 0)[[0, 2]], values[[0, 2]])
    assert not made[:, :, 1].any()
    assert (tmp_path / "a" / "umap.nii.gz").read_bytes() == (tmp_path / "b" / "umap.nii.gz").read_bytes()


def test_a_series_without_a_place_has_no_file(tmp_path: Path, series: PerfusionSeries) -> None:
    write_nifti_maps(bright(), replace(series, geometry=None), tmp_path, "segmentation", 8.0)
    assert not list(tmp_path.glob("*.nii.gz"))
