"""Read named arrays from an `.npz` file that nobody vouches for: sizes are checked before memory is asked for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pool.errors import UnreadableFileError
from pool.limits import refuse_large

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def held_arrays(path: Path) -> set[str]:
    """Names of the arrays in the file; empty where it is no `.npz` that can be listed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return set()


def read_npz_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the arrays `names` that the file holds; nothing else in it is touched, and nothing is unpickled.

    Raises:
        UnreadableFileError: an array that announces more than `pool.limits.MOST_ARRAY_BYTES`, or more than is there.
        Exception: whatever `zipfile`, the decompressors and numpy raise on damaged files; the caller's to translate.
    """
    with zipfile.ZipFile(path) as archive:
        held = {info.filename: info for info in archive.infolist()}
        return {name: _read(path, archive, held[f"{name}.npy"]) for name in names if f"{name}.npy" in held}


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    refuse_large(path.name, (info.file_size,), 1)
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = _HEADERS[version](stream)
    refuse_large(path.name, shape, dtype.itemsize)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > info.file_size and not dtype.hasobject:
        raise UnreadableFileError(
            f"file {path.name}",
            f"must be a whole, readable {path.suffix} file",
            f"{info.file_size} bytes for an array of {n_bytes}",
            "Was it cut or changed? Save it again.",
        )
    with archive.open(info) as stream:
        array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        stream.read(1)  # at the end zipfile compares the checksum
    return array
