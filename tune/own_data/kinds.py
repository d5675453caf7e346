"""What a file is, by its content: a study, a mask, a DICOM image or something else."""

from __future__ import annotations

import os
import zipfile
from enum import Enum
from pathlib import Path
from typing import Any

from pydicom.filereader import read_file_meta_info

from pool.dicom.opening import is_dicom
from pool.dicom.segmentation_masks import LABELMAP_CLASS, SEGMENTATION_CLASS
from pool.inputs import ARRAY_SUFFIXES
from pool.masks.files import MASK_KEYS, MAT_MASK
from pool.matfile import mat_array_names

SUFFIXES = (".nii.gz", ".nii", ".npz", ".mat", ".zip", ".dcm", ".ima")
"""Ends of names that are no part of a study's name."""


class Kind(Enum):
    """What a file is."""

    STUDY = "study"
    """Holds a whole study: `.npz`, `.mat`, 4D NIfTI, zip of DICOM files."""
    MASK = "mask"
    """Holds a mask: 3D NIfTI, DICOM SEG, `.npz` with labels, `.mat` with `final_mask`."""
    IMAGE = "image"
    """A DICOM file that may be part of a study."""
    OTHER = "other"
    """Anything else."""


def kind_of(path: Path) -> Kind:
    """What a file is; one that cannot be read counts as what its name promises, so that its reader refuses it."""
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            return Kind.STUDY
        if name.endswith((".nii", ".nii.gz")):
            return _kind_of_nifti(path)
        if name.endswith(ARRAY_SUFFIXES):
            names = mat_array_names(path) if name.endswith(".mat") else tuple(_names_in_npz(path))
            if "frames" in names or "final_img" in names:
                return Kind.STUDY
            return Kind.MASK if {*MASK_KEYS, MAT_MASK} & set(names) else Kind.OTHER
        if not is_dicom(path):
            return Kind.OTHER
        sop_class = read_file_meta_info(path).get("MediaStorageSOPClassUID")
    except Exception:  # whatever is wrong with it, the reader of its kind says so in words
        return Kind.STUDY if name.endswith((*ARRAY_SUFFIXES, ".zip")) else Kind.IMAGE
    return Kind.MASK if sop_class in (SEGMENTATION_CLASS, LABELMAP_CLASS) else Kind.IMAGE


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder, to the bottom, in order of its path; links are followed, hidden files left out.

    Raises:
        OSError: a folder that cannot be listed: what it holds would go unmissed.
    """

    def refuse(error: OSError) -> None:
        raise error

    found, seen = [], set()
    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(at))
        folders[:] = [name for name in folders if os.path.realpath(Path(at) / name) not in seen]  # links may go round
        found += [Path(at) / name for name in names]
    return sorted(path for path in found if not is_hidden(path.relative_to(folder)))


def is_hidden(path: Path) -> bool:
    """True for names that begin with a dot and for what a Mac packs beside every file."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def stem_of(path: Path) -> str:
    """The name without the end that says its kind."""
    lower = path.name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)]


def _kind_of_nifti(path: Path) -> Kind:
    import nibabel

    image: Any = nibabel.load(path)
    return Kind.STUDY if len(image.shape) > 3 and image.shape[3] > 1 else Kind.MASK


def _names_in_npz(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]
