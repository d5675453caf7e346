"""Write the contours as a secondary capture, burnt into frames, for viewers that read nothing else (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np

from pool.dicom.derived import (
    MANUFACTURER,
    MODEL_NAME,
    RESEARCH_ONLY,
    Origin,
    carrier,
    derived_uid,
    moment_of,
    save,
    source_files,
    writing,
)
from pool.dicom.read import DicomStudy
from pool.shapes import Map

SERIES_NUMBER = 9305
"""Far above what scanners count to, so that it sorts behind the images."""
SLICE_PX = 512
"""Longer side of a slice in the picture."""
EPI_COLOUR, ENDO_COLOUR, TEXT_COLOUR = (255, 176, 0), (100, 210, 255), (255, 255, 255)
_MARGIN_PX, _LINE_PX = 6, 16


@dataclass(frozen=True, eq=False)
class CapturedSlice:
    """What is drawn of one slice."""

    frame: Map
    """The frame in which the heart is brightest, native grid."""
    contours_px: Sequence[tuple[np.ndarray, tuple[int, int, int]]]
    """Closed polygons `point 2` of native (row, col), with their colours."""
    caption: str
    """One line: name, member, U_pp, or why there is no outline."""


def write_capture(path: Path, study: DicomStudy, slices: Sequence[CapturedSlice], *, origin: Origin) -> None:
    """Write one RGB picture of all slices side by side.

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study, spacing and references.
        slices: in the order of `study.series`.
        origin: what made the contours.

    Raises:
        OutputError: headers that it cannot refer to, or a file that cannot be written.
    """
    spacing_mm = study.series.pixel_spacing_mm
    assert spacing_mm is not None
    with writing("secondary capture"):
        source = carrier(study)
        date, time = moment_of(study)
        made = hd.sc.SCImage(
            pixel_array=np.concatenate([_drawn(item, spacing_mm) for item in slices], axis=1),
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            study_instance_uid=source.StudyInstanceUID,
            series_instance_uid=derived_uid(study, origin, "capture/series"),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid(study, origin, "capture/instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=origin.version,
            device_serial_number=origin.pool_sha256[:16],
            patient_id=source.PatientID,
            patient_name=source.PatientName,
            patient_birth_date=source.PatientBirthDate,
            patient_sex=source.PatientSex,
            accession_number=source.AccessionNumber,
            study_id=source.StudyID,
            study_date=source.StudyDate,
            study_time=source.StudyTime,
            referring_physician_name=source.get("ReferringPhysicianName"),
            patient_orientation=("L", "P"),
            specific_character_set="ISO_IR 192",
            series_description=f"LV contours: {RESEARCH_ONLY}",
        )
        made["PatientOrientation"].value = None  # an unknown orientation is empty, not two empty values
        made.BurnedInAnnotation, made.BodyPartExamined = "YES", "HEART"
        made.ConversionType = "WSD"
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.SourceImageSequence = [item for files in source_files(study).values() for item in files]
        for keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate", "DateOfSecondaryCapture"):
            setattr(made, keyword, date)
        for keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime", "TimeOfSecondaryCapture"):
            setattr(made, keyword, time)
        for equipment in made.get("ContributingEquipmentSequence") or []:
            equipment.ContributionDateTime = f"{date}{time}"
        save(made, path)


def _drawn(item: CapturedSlice, spacing_mm: tuple[float, float]) -> np.ndarray:
    """One slice with square pixels, its contours and captions, uint8 `row col 3`."""
    from PIL import Image, ImageDraw, ImageFont

    size_mm = [n * spacing for n, spacing in zip(item.frame.shape, spacing_mm)]
    n_rows, n_cols = (max(round(SLICE_PX * size / max(size_mm)), 1) for size in size_mm)
    low, high = np.percentile(item.frame, (1, 99.5))
    grey = np.clip((item.frame - low) / max(high - low, 1e-9), 0, 1) * 255
    small = Image.fromarray(grey.astype(np.uint8))
    picture = small.resize((n_cols, n_rows), Image.Resampling.BILINEAR).convert("RGB")
    draw = ImageDraw.Draw(picture)
    scale = np.array([n_rows, n_cols]) / item.frame.shape
    for points_px, colour in item.contours_px:
        rows, cols = ((points_px + 0.5) * scale - 0.5).T
        corners = list(zip(cols.tolist(), rows.tolist(), strict=True))
        draw.line([*corners, corners[0]], fill=colour, width=2)
    font = ImageFont.load_default(_LINE_PX - 3)
    draw.text((_MARGIN_PX, _MARGIN_PX), item.caption, fill=TEXT_COLOUR, font=font)
    below = n_rows - _LINE_PX - _MARGIN_PX
    draw.text((_MARGIN_PX, below), "RESEARCH USE ONLY, NOT FOR DIAGNOSIS", fill=TEXT_COLOUR, font=font)
    return np.asarray(picture)
