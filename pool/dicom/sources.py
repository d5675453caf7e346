"""What derived objects need to know of the images they come from: whose they are, and which frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from pool.series import SliceGeometry

IDENTITY_TAGS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID"),
    *("StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
    *("PositionReferenceIndicator", "FrameOfReferenceUID", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod",),
)
"""Tags that are copied from the source images into every derived object."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a study, as a derived object refers to it."""

    sop_class_uid: str
    """Kind of its file."""
    sop_instance_uid: str
    """Its file."""
    series_uid: str
    """Series of its file."""
    frame_number: int | None
    """Number of the frame in a multi-frame file, from 1; None for a single-frame file."""

    def reference(self, with_frame: bool) -> Dataset:
        """An item of a sequence of references (PS3.3 table 10-3)."""
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.sop_class_uid, self.sop_instance_uid
        if with_frame and self.frame_number is not None:
            item.ReferencedFrameNumber = self.frame_number
        return item


class SourceImages(Protocol):
    """Images that derived objects come from: a first pass, or an ASL study."""

    @property
    def sources(self) -> tuple[tuple[SourceFrame, ...], ...]:
        """`slice image`: where each image came from."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Patient and study as text by keyword, `IDENTITY_TAGS`."""

    @property
    def geometry(self) -> tuple[SliceGeometry, ...]:
        """Place of every slice."""

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns [mm]."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """`slice row col`."""

    @property
    def thickness_mm(self) -> float | None:
        """Slice thickness [mm]; None where the headers do not say."""


def identity_of(header: Dataset) -> dict[str, str]:
    """The identity of an image as text by keyword; tags that are absent are absent, values are as the file has them."""
    found = {}
    for keyword in IDENTITY_TAGS:
        if keyword in header:
            value = header[keyword].value
            parts = value if isinstance(value, MultiValue | list) else [value]
            found[keyword] = "\\".join("" if part is None else str(part) for part in parts)
    return found


def identity_dataset(identity: Mapping[str, str]) -> Dataset:
    """The identity as tags, in UTF-8 whatever the source was written in: no character of a name is lost."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword, text in identity.items():
        setattr(made, keyword, text)
    return made
