"""One frame of a DICOM file as the grouping sees it; classic and enhanced multi-frame files look the same from here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from pool.dicom.opening import reading
from pool.dicom.scaling import philips_scale_slope
from pool.dicom.sources import SourceFrame
from pool.dicom.times import CLOCK_KEYS, time_values
from pool.errors import UnreadableFileError

CLASSIC_CLASSES = (MRImageStorage,)
ENHANCED_CLASSES = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
GEOMETRY_TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
"""Without these a frame has no place in the patient; they are never guessed."""
PREPARATION_TAGS = ("FlipAngle", "InversionTime", "SequenceName")
"""What a proton-density frame is taken with otherwise."""


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """What is known of one frame before its pixels are read."""

    path: Path
    """The file that holds the frame."""
    frame_number: int | None
    """Number of the frame in a multi-frame file, from 1; None for a single-frame file."""
    header: Dataset
    """The file's header, without pixels."""
    groups: tuple[Dataset, ...]
    """Where attributes of the frame lie: its own functional groups, the shared ones, the header."""
    series_uid: str
    """Series that the frame belongs to."""
    series_number: str
    """What the scanner's operator knows the series by."""
    names: str
    """Description of the series and name of the protocol."""
    frame_of_reference: str
    """UID of the patient coordinate system; empty where the header does not say."""
    shape: tuple[int, int]
    """Rows and columns; (0, 0) where the header does not say."""
    spacing_mm: tuple[float, ...]
    """Distance between rows, between columns [mm]."""
    position_mm: tuple[float, ...]
    """Centre of the first pixel in the patient [mm]."""
    orientation: tuple[float, ...]
    """Direction of a row (rising column), direction of a column (rising row)."""
    thickness_mm: float | None
    """Slice thickness [mm]; None where the header does not say."""
    missing_tags: tuple[str, ...]
    """Geometry tags that are absent or have the wrong number of values."""
    impossible_tags: tuple[str, ...]
    """Geometry tags whose values are not finite, or not positive where they are distances."""
    slope: float
    """Rescale slope."""
    intercept: float
    """Rescale intercept."""
    scale_slope: float | None
    """Philips' private scale slope; None where there is none. See `pool.dicom.scaling`."""
    image_type: tuple[str, ...]
    """Values of ImageType, upper case."""
    state_codes: tuple[Dataset, ...]
    """Items of PatientPhysiologicalStateCodeSequence (0018,9772)."""
    preparation: tuple[str, ...]
    """Flip angle, inversion time and sequence name: a proton-density frame differs in one of them."""
    component: str
    """`M` for magnitude, or what the image type says else: `P`, `R`, `I`."""
    echo: float
    """Echo time [ms], 0 where the header does not say."""
    order: tuple[float, ...]
    """Instance number, then temporal position or frame number: the order in which the scanner counted."""
    times: dict[str, float]
    """Seconds by name of the time tag, those present."""

    def value(self, keyword: str, default: Any = None) -> Any:
        """An attribute of the frame, wherever it lies; the default where it is absent, empty or unreadable."""
        try:
            with reading(self.path.name):
                return _value(self.groups, keyword, default)
        except UnreadableFileError:  # of the many that pydicom raises when it first looks at a value
            return default

    @property
    def source(self) -> SourceFrame:
        """What a derived object refers to."""
        header = self.header
        return SourceFrame(str(header.SOPClassUID), str(header.SOPInstanceUID), self.series_uid, self.frame_number)

    @property
    def clock_s(self) -> float | None:
        """Time of day [s], to tell two runs of one examination apart; None where no tag says."""
        return next((self.times[key] for key in CLOCK_KEYS if key in self.times), None)


def frame_records(path: Path, header: Dataset) -> list[FrameRecord]:
    """Every frame of one MR file.

    Raises:
        UnreadableFileError: a multi-frame file whose functional groups do not match its number of frames.
    """
    if header.get("SOPClassUID") in CLASSIC_CLASSES:
        return [_record(path, None, header, [header])]
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    per_frame = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    n_frames = int(header.get("NumberOfFrames") or 0)
    if n_frames != len(per_frame) or not n_frames:
        raise UnreadableFileError(
            f"file {path.name}",
            "a multi-frame file needs one functional group a frame",
            f"{len(per_frame)} groups for {n_frames} frames",
            "Export it again.",
        )
    records = []
    for number, item in enumerate(per_frame, start=1):
        groups = [group for holder in (item, *shared) for group in _first_items(holder)]
        records.append(_record(path, number, header, [*groups, header]))
    return records


def _first_items(holder: Dataset) -> Iterator[Dataset]:
    for element in holder:
        if element.VR == "SQ" and element.value:
            yield element.value[0]


def _value(groups: Sequence[Dataset], keyword: str, default: Any) -> Any:
    tag = _tag(keyword)
    for group in groups:
        if tag in group and (found := group[tag].value) not in (None, ""):
            return found
    return default


def _record(path: Path, number: int | None, header: Dataset, groups: list[Dataset]) -> FrameRecord:
    def value(keyword: str, default: Any = None) -> Any:
        return _value(groups, keyword, default)

    position, orientation, spacing = (
        tuple(float(x) for x in _as_list(value(tag)))
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    shape = (int(value("Rows", 0)), int(value("Columns", 0)))
    complete = (len(position) == 3, len(orientation) == 6, len(spacing) == 2, shape[0] > 0, shape[1] > 0)
    possible = (
        all(map(math.isfinite, position)),
        all(map(math.isfinite, orientation)),
        all(math.isfinite(distance) and distance > 0 for distance in spacing),
    )
    image_type = [str(part).upper() for part in _as_list(value("ImageType"))]
    component = str(value("ComplexImageComponent", "")).upper()[:1] or "".join(image_type[2:3])
    counted = value("TemporalPositionIndex", number or 0) if number else value("TemporalPositionIdentifier", 0)
    return FrameRecord(
        path=path,
        frame_number=number,
        header=header,
        groups=tuple(groups),
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        series_number=str(header.get("SeriesNumber", "without a number")),
        names=" ".join(str(header.get(key) or "") for key in ("SeriesDescription", "ProtocolName")),
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        shape=shape,
        spacing_mm=spacing,
        position_mm=position,
        orientation=orientation,
        thickness_mm=_finite(value("SliceThickness", 0.0)) or None,
        missing_tags=tuple(tag for tag, there in zip(GEOMETRY_TAGS, complete, strict=True) if not there),
        impossible_tags=tuple(tag for tag, good in zip(GEOMETRY_TAGS, possible, strict=False) if not good),
        slope=float(value("RescaleSlope", 1.0)),
        intercept=float(value("RescaleIntercept", 0.0)),
        scale_slope=philips_scale_slope(groups),
        image_type=tuple(image_type),
        state_codes=tuple(value("PatientPhysiologicalStateCodeSequence") or ()),
        preparation=tuple(str(value(tag, "")) for tag in PREPARATION_TAGS),
        component=component if component in ("P", "R", "I") else "M",
        echo=_finite(value("EffectiveEchoTime", value("EchoTime", 0.0))),
        order=(_finite(header.get("InstanceNumber") or 0), _finite(counted)),
        times=time_values(value),
    )


@cache
def _tag(keyword: str) -> BaseTag:
    """Looked up once, as every frame is asked for the same two dozen tags."""
    return Tag(keyword)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _finite(value: Any) -> float:
    number = float(value)
    return number if math.isfinite(number) else 0.0
