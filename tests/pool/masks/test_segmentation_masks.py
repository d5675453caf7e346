"""Masks of DICOM Segmentations: known by what their segments say, laid by where their frames lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pool.dicom.derived import Origin
from pool.dicom.segmentation import write_segmentation
from pool.errors import MaskError, UnreadableFileError
from pool.inputs import StudyInput, open_study
from pool.masks.study import read_labels
from pool.masks.values import MaskValues
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
GRID = (3, samples.ROWS, samples.COLS)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyInput:
    return open_study(samples.write(tmp_path_factory.mktemp("study") / "e.dcm", samples.enhanced()))


@pytest.fixture
def segmentation(tmp_path: Path, study: StudyInput) -> Path:
    """Myocardium at one pixel of base and apex, blood beside the latter."""
    assert study.dicom is not None
    myocardium, blood = np.zeros(GRID, dtype=bool), np.zeros(GRID, dtype=bool)
    myocardium[0, 4, 9] = myocardium[2, 10, 3] = blood[2, 10, 4] = True
    write_segmentation(
        tmp_path / "seg.dcm", study.dicom, myocardium, lv_blood=blood, origin=Origin("i", "ab" * 32, "0.1.0")
    )
    return tmp_path / "seg.dcm"


def edited(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def anonymous_segments(dataset: Dataset) -> None:
    for segment, label in zip(dataset.SegmentSequence, ("one", "two"), strict=True):
        segment.SegmentLabel = label
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "85756007"  # tissue


def expect(study: StudyInput, path: Path, values: MaskValues | None = None) -> None:
    found = read_labels(study, [path], values).classes
    assert np.argwhere(found == 1).tolist() == [[0, 4, 9], [2, 10, 3]]
    assert np.argwhere(found == 2).tolist() == [[2, 10, 4]]


def test_segments_are_known_by_code_by_label_or_by_declared_number(study: StudyInput, segmentation: Path) -> None:
    expect(study, segmentation)

    def labels(dataset: Dataset) -> None:
        anonymous_segments(dataset)
        dataset.SegmentSequence[0].SegmentLabel, dataset.SegmentSequence[1].SegmentLabel = "LV_Myo", "lv-cavity"

    expect(study, edited(segmentation, labels))
    edited(segmentation, anonymous_segments)
    expect(study, segmentation, MaskValues.parse("myocardium=1,blood-pool=2"))
    with pytest.raises(MaskError, match="by code or label that it is LV myocardium or blood pool; found segment 1"):
        read_labels(study, [segmentation])


def test_the_right_ventricles_wall_is_not_the_lefts(study: StudyInput, segmentation: Path) -> None:
    def change(dataset: Dataset) -> None:
        anonymous_segments(dataset)
        dataset.SegmentSequence[0].SegmentLabel = "RV myocardium"

    with pytest.raises(MaskError, match="found segment 1 that says neither"):
        read_labels(study, [edited(segmentation, change)])


def test_a_fractional_segmentation_counts_from_half(study: StudyInput, segmentation: Path) -> None:
    def change(dataset: Dataset) -> None:
        bits = dataset.pixel_array
        dataset.SegmentationType, dataset.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
        dataset.MaximumFractionalValue, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 200, 8, 8, 7
        dataset.PixelData = (np.where(bits, 100, 99) * 1).astype(np.uint8).tobytes()

    expect(study, edited(segmentation, change))


def test_a_segmentation_of_another_examination_is_refused(study: StudyInput, segmentation: Path) -> None:
    def frame_of_reference_alone(dataset: Dataset) -> None:
        del dataset.ReferencedSeriesSequence

    expect(study, edited(segmentation, frame_of_reference_alone))

    def foreign(dataset: Dataset) -> None:
        dataset.FrameOfReferenceUID = "1.2.3"

    with pytest.raises(MaskError, match="mask seg.dcm: must refer to the series of its study, or share its frame"):
        read_labels(study, [edited(segmentation, foreign)])


def test_frames_between_the_slices_are_not_laid(study: StudyInput, segmentation: Path) -> None:
    def shift(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence:
            place = item.PlanePositionSequence[0]
            away = 5 * np.array(samples.TOWARDS_APEX)
            place.ImagePositionPatient = list(np.array(place.ImagePositionPatient, dtype=float) + away)

    with pytest.raises(MaskError, match="must lie on the slices of its study; found another place"):
        read_labels(study, [edited(segmentation, shift)])


def test_other_objects_and_cut_ones_are_refused(study: StudyInput, segmentation: Path, tmp_path: Path) -> None:
    image = samples.write(tmp_path / "image.dcm", samples.classic(0, 0))
    with pytest.raises(MaskError, match="mask image.dcm: must be a DICOM Segmentation; found another object."):
        read_labels(study, [image])

    def cut(dataset: Dataset) -> None:
        dataset.PixelData = dataset.PixelData[:-10]

    with pytest.raises(UnreadableFileError, match="bytes of pixels that its header declares"):
        read_labels(study, [edited(segmentation, cut)])
