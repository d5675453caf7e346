"""Read the masks of a DICOM Segmentation (PS3.3 A.51) by what its segments say they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pool.dicom.opening import read_header, read_pixels, reading
from pool.errors import MaskError
from pool.inputs import StudyInput
from pool.masks.values import MaskValues
from pool.masks.volume import MaskVolume
from pool.shapes import BACKGROUND, BLOOD_POOL, MYOCARDIUM

SEGMENTATION_CLASS, LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
CLASS_OF_CODE = {
    "49848007": MYOCARDIUM,  # myocardium of left ventricle
    "87612001": BLOOD_POOL,  # blood
    "87878005": BLOOD_POOL,  # left ventricle: drawn beside a myocardium it is the cavity
    "53085002": BLOOD_POOL,  # right ventricle
}
"""Class by SNOMED CT code of the segmented property type."""
SAME_PLANE_MM = 1.0
"""A frame lies on a slice if their planes are at most this far apart; slices lie several mm apart."""


def read_segmentation_masks(path: Path, study: StudyInput | None, values: MaskValues | None = None) -> list[MaskVolume]:
    """One volume of a single plane for every frame of the object.

    A segment is known by the code of its property type, else by words of its label ("myocardium", "blood pool",
    "cavity"), else by its number in `values`.

    Args:
        path: the file.
        study: the study that it must refer to, by series or frame of reference; None asks for no study.
        values: classes by number of the segment, for segments that say nothing.

    Raises:
        MaskError: no segmentation, another examination's, or a segment that nobody declared.
        UnreadableFileError: broken or cut.
    """
    subject = f"mask {path.name}"
    header = read_header(path)
    with reading(path.name):
        if header.get("SOPClassUID") not in (SEGMENTATION_CLASS, LABELMAP_CLASS):
            raise MaskError(subject, "must be a DICOM Segmentation", "another object", "Export it as DICOM SEG.")
        if study is not None:
            _refuse_other_examination(subject, header, study)
        class_of = {int(s.SegmentNumber): _class_of(subject, s, values) for s in header.SegmentSequence}
        planes = [_affine(header, item) for item in header.PerFrameFunctionalGroupsSequence]
        stored = read_pixels(path)
        if len(planes) != len(stored):
            found = f"{len(planes)} for {len(stored)}"
            raise MaskError(subject, "needs one functional group a frame", found, "Export it again.")
        return [
            MaskVolume(subject, classes[None], affine)
            for classes, affine in zip(_classes(header, stored, class_of), planes, strict=True)
        ]


def _classes(header: Dataset, stored: np.ndarray, class_of: dict[int, int]) -> Iterator[np.ndarray]:
    """uint8 `row col` of every frame."""
    kind = str(header.get("SegmentationType", "LABELMAP"))
    least = float(header.MaximumFractionalValue) / 2 if kind == "FRACTIONAL" else 0.5
    for frame, item in zip(stored, header.PerFrameFunctionalGroupsSequence, strict=True):
        classes = np.full(frame.shape, BACKGROUND, dtype=np.uint8)
        if kind == "LABELMAP":
            for number, found in class_of.items():
                classes[frame == number] = found
        else:
            number = int(_group(header, item, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            classes[frame >= least] = class_of[number]
        yield classes


def _class_of(subject: str, segment: Dataset, values: MaskValues | None) -> int:
    code = segment.SegmentedPropertyTypeCodeSequence[0]
    if code.get("CodingSchemeDesignator") == "SCT" and code.get("CodeValue") in CLASS_OF_CODE:
        return CLASS_OF_CODE[code.CodeValue]
    words = str(segment.get("SegmentLabel") or "").lower().replace("_", " ").replace("-", " ")
    right = "right" in words or "rv" in words.split()
    if "myo" in words and not right:
        return MYOCARDIUM
    if "myo" not in words and any(word in words for word in ("blood", "cavity", "lumen")):
        return BLOOD_POOL
    number = int(segment.SegmentNumber)
    if values is not None and number in values.class_of:
        return values.class_of[number]
    if "background" in words:
        return BACKGROUND
    raise MaskError(
        subject,
        "every segment must say by code or label that it is LV myocardium or blood pool",
        f"segment {number} that says neither",
        "Declare its number, e.g. --labels myocardium=1,blood-pool=2,background=3.",
    )


def _refuse_other_examination(subject: str, header: Dataset, study: StudyInput) -> None:
    if study.series.geometry is None:
        raise MaskError(subject, "needs a study that knows its place in the patient", "one without", "Send its DICOM.")
    if study.dicom is None:
        return
    sources = [frame for frames in study.dicom.sources for frame in frames]
    same_frame = header.get("FrameOfReferenceUID") == (study.dicom.identity.get("FrameOfReferenceUID") or "none")
    referred = {item.get("SeriesInstanceUID") for item in header.get("ReferencedSeriesSequence") or []}
    if not same_frame and not referred & {s.series_uid for s in sources}:
        raise MaskError(
            subject,
            "must refer to the series of its study, or share its frame of reference",
            "neither",
            "Is it the mask of another examination?",
        )


def _affine(header: Dataset, item: Dataset) -> np.ndarray:
    """From (col, row, 0) of a frame to the patient; half a step of the third axis is `SAME_PLANE_MM`."""
    position = np.array(_group(header, item, "PlanePositionSequence").ImagePositionPatient, dtype=float)
    orientation = np.array(_group(header, item, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float)
    spacing = _group(header, item, "PixelMeasuresSequence").PixelSpacing
    along_row, along_col = orientation[:3], orientation[3:]
    normal = np.cross(along_row, along_col)
    columns = (along_row * float(spacing[1]), along_col * float(spacing[0]), normal * 2 * SAME_PLANE_MM, position)
    return np.stack(columns, axis=1)


def _group(header: Dataset, item: Dataset, keyword: str) -> Dataset:
    """A functional group of a frame, its own or the shared one."""
    for holder in (item, *header.SharedFunctionalGroupsSequence):
        if holder.get(keyword):
            return holder[keyword].value[0]
    raise KeyError(keyword)
