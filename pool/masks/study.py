"""The labels of a study from its mask files, on its native grid and then on the prepared one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.errors import MaskError
from pool.inputs import ARRAY_SUFFIXES, StudyInput
from pool.masks.files import read_mask_file
from pool.masks.values import MaskValues
from pool.masks.volume import MaskVolume, lay, merged
from pool.preprocess import PreparedSlice
from pool.shapes import MYOCARDIUM

MOST_LOST_SHARE = 0.02
"""Share of a slice's myocardium that may lie outside the crop: pixels at its edge, not a piece of the wall."""


@dataclass(frozen=True, eq=False)
class StudyLabels:
    """What was drawn on a study."""

    classes: np.ndarray
    """uint8 `slice row col` on the native grid."""
    remarks: tuple[str, ...]
    """How the masks were laid."""


def read_volumes(path: Path, study: StudyInput | None, values: MaskValues | None) -> list[MaskVolume]:
    """The volumes of one mask file; see `read_mask_file` and `pool.dicom.segmentation_masks`.

    Args:
        path: the file.
        study: the study that it must belong to; None asks for the file's content alone.
        values: classes by stored value or number of the segment; None for the defaults.
    """
    if path.name.lower().endswith(ARRAY_SUFFIXES):
        return [read_mask_file(path, values)]
    from pool.dicom.segmentation_masks import read_segmentation_masks  # needs pydicom; the rest does not

    return read_segmentation_masks(path, study, values)


def read_labels(study: StudyInput, masks: Sequence[Path], values: MaskValues | None = None) -> StudyLabels:
    """Lay every mask file of a study on its native grid and join them.

    Args:
        study: the study as read.
        masks: its mask files: one, or several of different slices or structures.
        values: see `read_volumes`.

    Raises:
        MaskError: no file; a file that does not fit; two files that outline the same slice; no myocardium at all.
        PoolError: a file that cannot be read.
    """
    series = study.series
    if not masks:
        raise MaskError("study", "needs a mask", "none", "Put its mask beside it.")
    parts, n_by_place = [], 0
    for path in masks:
        laid = lay(read_volumes(path, study, values), series)
        parts.append(laid.classes)
        n_by_place += laid.by_place
    outlined = sum((part == MYOCARDIUM).any(axis=(1, 2)).astype(int) for part in parts)
    for name, n in zip(series.slice_names, outlined, strict=True):
        if n > 1:
            raise MaskError(
                f"slice {name}", "may be outlined by one mask file", f"{n}", "Keep one reader's mask, or join them."
            )
    if not np.any(outlined):
        raise MaskError(_names(masks), "needs myocardium on at least one slice", "none", "Is it the right file?")
    remarks = []
    if n_by_place:
        remarks.append("laid by position in the patient")
    if n_by_place < len(masks):
        remarks.append("laid by the order of rows, columns and slices, as mask or study knows no position")
    return StudyLabels(merged(parts), tuple(remarks))


def prepared_labels(prepared: PreparedSlice, classes: np.ndarray) -> np.ndarray:
    """Labels of one slice as its networks see it, uint8 `row col`, by the nearest native pixel.

    Args:
        prepared: the slice.
        classes: its labels on the native grid, `row col`.

    Raises:
        MaskError: no myocardium, or myocardium beyond the crop, which would teach that there is none.
    """
    native = np.argwhere(classes == MYOCARDIUM)
    if not len(native):
        raise MaskError(
            f"slice {prepared.name}", "needs myocardium in its mask", "none", "Outline it, or leave it out."
        )
    way_back = prepared.way_back
    within = (native - np.array(way_back.origin_px)) / np.array(way_back.step_px)
    lost = float(((within < -0.5) | (within > way_back.image_px - 0.5)).any(axis=1).mean())
    labels = way_back.labels_from_native(classes)
    if lost > MOST_LOST_SHARE or not (labels == MYOCARDIUM).any():
        raise MaskError(
            f"slice {prepared.name}",
            "the outlined myocardium must lie within the crop about the heart",
            f"{lost:.0%} of it outside",
            "Is it the mask of this study? If so, the heart was not found here.",
        )
    return labels


def _names(masks: Sequence[Path]) -> str:
    return f"mask {masks[0].name}" + (f" and {len(masks) - 1} more" if len(masks) > 1 else "")
