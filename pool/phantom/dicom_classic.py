"""Classic single-frame MR files as Siemens, GE and Philips write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pool.phantom.dicom_common import START_S, classic_file, clock, decimal, uid_of
from pool.phantom.study_types import PhantomStudy

PHILIPS_SLOPE = 1.75
"""Philips scales its pixels: a file's values differ from the study's by up to half of this, from rounding."""


def _state(study: PhantomStudy) -> str:
    return "stress" if study.stress else "rest"


def _kind(study: PhantomStudy) -> str:
    return "perfusion" if study.injection == "main" else "perfusion prebolus"


def write_siemens(study: PhantomStudy, folder: Path) -> list[Path]:
    """Siemens classic: one series a slice; AcquisitionTime, ContentTime, InstanceNumber rise, TriggerTime stays."""
    series, paths = study.series, []
    for i, name in enumerate(series.slice_names):
        series_uid = uid_of(study, "series", i)
        for t in range(series.n_frames):
            instance_uid = uid_of(study, "image", "siemens", i, t)
            file = classic_file(study, i, t, instance_uid, series_uid)
            at_s = START_S + float(series.times_s[i, t])
            file.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
            file.SeriesNumber = str((20 if study.injection == "main" else 10) + i)
            file.SeriesTime = clock(START_S + float(series.times_s[i, 0]))
            file.SeriesDescription = f"PHANTOM {_state(study)} {_kind(study)} {name}"
            file.ProtocolName = f"{_state(study)} perfusion"
            file.SequenceName = "*tfl2d1_60" if study.scan.readout == "flash" else "*tfi2d1_60"
            file.AcquisitionTime = clock(at_s)
            file.ContentTime = clock(at_s + 0.0025)
            file.AcquisitionNumber = str(t + 1)
            file.InstanceNumber = str(t + 1)
            file.TriggerTime = decimal(120.0 + 200.0 * i)
            path = folder / f"{name}-{t + 1:04d}.dcm"
            file.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def write_ge(study: PhantomStudy, folder: Path) -> list[Path]:
    """GE classic: one series; TriggerTime is the time since the start, AcquisitionTime says nothing about frames.

    AcquisitionNumber is always 0, the field strength is in gauss, the files have no extension, pixels are signed.
    """
    series, paths = study.series, []
    series_uid = uid_of(study, "series", "ge")
    n_slices = series.n_slices
    for i in range(n_slices):
        for t in range(series.n_frames):
            number = t * n_slices + i + 1
            instance_uid = uid_of(study, "image", "ge", i, t)
            file = classic_file(study, i, t, instance_uid, series_uid)
            file.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            file.SeriesNumber = "12" if study.injection == "main" else "11"
            file.SeriesTime = clock(START_S)
            file.SeriesDescription = f"PHANTOM {_state(study)} FGRE time course"
            file.ProtocolName = "cardiac perfusion"
            file.MagneticFieldStrength = decimal(10000 * study.scan.field_t)
            file.AcquisitionTime = clock(START_S + i)
            file.ContentTime = clock(START_S + i)
            file.AcquisitionNumber = "0"
            file.InstanceNumber = str(number)
            file.TriggerTime = decimal(round(769.0 + 1000.0 * float(series.times_s[i, t]), 3))
            file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 15, 1
            for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
                value = int(file[keyword].value)
                file.add_new(keyword, "SS", value)
            path = folder / f"i{number:06d}"
            file.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def write_philips(study: PhantomStudy, folder: Path) -> list[Path]:
    """Philips classic: one series; TriggerTime is the running time, TemporalPositionIdentifier counts."""
    series, paths = study.series, []
    series_uid = uid_of(study, "series", "philips")
    for i in range(series.n_slices):
        for t in range(series.n_frames):
            number = i * series.n_frames + t + 1
            instance_uid = uid_of(study, "image", "philips", i, t)
            file = classic_file(study, i, t, instance_uid, series_uid)
            stored = np.round(series.frames[i, t] / PHILIPS_SLOPE).astype("<u2")
            file.PixelData = stored.tobytes()
            file.SmallestImagePixelValue, file.LargestImagePixelValue = int(stored.min()), int(stored.max())
            file.RescaleIntercept, file.RescaleSlope, file.RescaleType = "0", decimal(PHILIPS_SLOPE), "normalized"
            file.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
            file.SeriesNumber = "801" if study.injection == "main" else "701"
            file.SeriesTime = clock(START_S)
            file.SeriesDescription = f"PHANTOM {_state(study)} {_kind(study)}"
            file.ProtocolName = f"{_state(study)} perfusion"
            file.AcquisitionTime = clock(START_S)
            file.ContentTime = clock(START_S)
            file.AcquisitionNumber = "8"
            file.InstanceNumber = str(number)
            file.TemporalPositionIdentifier = str(t + 1)
            file.NumberOfTemporalPositions = str(series.n_frames)
            file.TriggerTime = decimal(round(1000.0 * float(series.times_s[i, t]), 3))
            path = folder / f"IM_{number:04d}"
            file.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths
