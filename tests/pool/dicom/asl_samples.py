"""ASL images as scanners write them, made with plain pydicom; shares no code with the reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from tests.pool.dicom import dicom_samples as samples

START_S, PAIR_S, HALF_S = 10 * 3600, 30.0, 6.0
LEVELS = {"control": 300, "labelled": -200, "baseline": 800}
WORDS = {"control": "control", "labelled": "label", "baseline": "M0"}
CONTEXTS = {"control": "CONTROL", "labelled": "LABEL", "baseline": "M_ZERO_SCAN"}
SLOPE = 0.5


def stored(kind: str, pair: int) -> np.ndarray:
    """Stored pixels: of every image another level, of every pixel another value."""
    ramp = np.arange(samples.ROWS * samples.COLS).reshape(samples.ROWS, samples.COLS) % 89
    return (LEVELS[kind] + 7 * pair + ramp).astype(np.int16)


def image(kind: str, pair: int, **changes: Any) -> Dataset:
    """One single-frame image of the mid slice that says in ImageComments what it is; `changes` as in `classic`."""
    at_s = START_S + PAIR_S * pair + {"control": 0.0, "labelled": HALF_S, "baseline": -20.0}[kind]
    number = {"control": 2 * pair + 2, "labelled": 2 * pair + 3, "baseline": 1}[kind]
    ti_ms = None if kind == "baseline" else 900.0 + 10 * pair + (5 if kind == "labelled" else 0)
    told = {
        "SOPInstanceUID": f"{samples.SERIES_UID}.77.{number}",
        "ImageType": ["ORIGINAL", "PRIMARY", "R", "ND"],
        "SeriesDescription": "myocardial ASL",
        "ImageComments": WORDS[kind],
        "InstanceNumber": number,
        "AcquisitionTime": samples.clock(at_s),
        "ContentTime": samples.clock(at_s),
        "RescaleSlope": SLOPE,
        "RescaleIntercept": 0.0,
        "MagneticFieldStrength": "3",
        "PixelData": stored(kind, pair).tobytes(),
    }
    if ti_ms is not None:
        told["InversionTime"] = ti_ms
    ds = samples.classic(1, 0, **told)
    for tag, value in changes.items():
        if value is None:
            if tag in ds:
                delattr(ds, tag)
        else:
            setattr(ds, tag, value)
    return ds


def run(n_pairs: int = 3, baseline: bool = True, **changes: Any) -> list[Dataset]:
    """Baseline, then pairs, control first."""
    pairs = [image(kind, pair, **changes) for pair in range(n_pairs) for kind in ("control", "labelled")]
    return [*([image("baseline", 0, **changes)] if baseline else []), *pairs]


def write(folder: Path, datasets: Iterable[Dataset]) -> Path:
    """Files in an order that says nothing."""
    for i, ds in enumerate(datasets):
        samples.write(folder / f"{(7 * i) % 101:03d}-{i}.dcm", ds)
    return folder


def enhanced(images: Sequence[tuple[str, int]], **changes: Any) -> Dataset:
    """One multi-frame file of these images (kind and pair), with ASL Context and InversionTimes a frame."""
    ds = samples.enhanced((1,), len(images))
    for name, value in {"SeriesDescription": "no words", "ProtocolName": "", "MagneticFieldStrength": 3.0}.items():
        setattr(ds, name, value)
    ds.ImageType, ds.ComplexImageComponent = ["ORIGINAL", "PRIMARY", "ASL", "NONE"], "REAL"
    ds.ArterialSpinLabelingContrast = "PULSED"
    transform = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    transform.RescaleSlope, transform.RescaleIntercept = SLOPE, 0.0
    for (kind, pair), item in zip(images, ds.PerFrameFunctionalGroupsSequence, strict=True):
        labelling, modifier = Dataset(), Dataset()
        labelling.ASLContext = CONTEXTS[kind]
        at_s = START_S + PAIR_S * pair + {"control": 0.0, "labelled": HALF_S, "baseline": -20.0}[kind]
        item.FrameContentSequence[0].FrameAcquisitionDateTime = f"20240305{samples.clock(at_s)}"
        if kind != "baseline":
            modifier.InversionTimes = [900.0 + 10 * pair + (5 if kind == "labelled" else 0)]
        item.MRArterialSpinLabelingSequence = DicomSequence([labelling])
        item.MRModifierSequence = DicomSequence([modifier])
    ds.PixelData = b"".join(stored(kind, pair).tobytes() for kind, pair in images)
    for tag, value in changes.items():
        setattr(ds, tag, value)
    return ds


def frames(kind: str, pairs: Iterable[int]) -> np.ndarray:
    """What a reader has to find, `pair row col`."""
    return np.stack([stored(kind, pair) for pair in pairs]).astype(np.float32) * np.float32(SLOPE)


def times_s(pairs: Iterable[int]) -> np.ndarray:
    """Inversion times, `pair 2`."""
    return np.array([[0.9 + 0.01 * pair, 0.905 + 0.01 * pair] for pair in pairs])
