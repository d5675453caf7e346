"""Open one DICOM file without trusting it: headers, pixels, and an error in words for whatever is wrong with it."""

from __future__ import annotations

import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from pool.errors import PoolError, UnreadableFileError, UnsupportedFileError

MOST_PIXELS = 2**28
"""Most pixels of one file and of one study (1 GiB as float32); a study of 3 x 90 frames of 256 x 256 has 2**24."""
SIDE_SUFFIXES = (".csv", ".htm", ".html", ".inf", ".ini", ".json", ".log", ".md", ".npz", ".pdf", ".txt", ".xml")
"""Ends of names of files that are no images, whatever their size."""
SIDE_NAMES = ("DICOMDIR", "LICENSE", "LOCKFILE", "README", "THUMBS.DB", "VERSION")
"""Names without such an end, as export media carry them."""
IMAGE_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Ends of names of files that say they are images."""
INFLATED_RATIO, INFLATED_SLACK = 20, 2**24
"""A deflated file may grow to 20 times its size and 16 MiB; MR pixels deflate to a third, a bomb to a thousandth."""
_INFLATE_STEP = 2**20
_MARKED_BYTES = 132
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its messages quote what files hold
_READ_REMEDY = "Allow reading it, or copy it elsewhere."


def is_dicom(path: Path) -> bool:
    """True where the file carries the mark of a DICOM file: `DICM` after a preamble of 128 bytes (PS3.10, 7.1).

    Raises:
        UnreadableFileError: a file that cannot be opened and that may be an image: nobody can say that it is none.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MARKED_BYTES)[128:] == b"DICM"
    except OSError as error:
        if is_side_file(path):
            return False
        raise UnreadableFileError(f"file {path.name}", "must be readable", _in_words(error), _READ_REMEDY) from error


def is_side_file(path: Path) -> bool:
    """True for names that exports put beside the images: tables, notes, media directories, files of the system."""
    return (
        path.suffix.lower() in SIDE_SUFFIXES
        or path.name.upper() in SIDE_NAMES
        or path.name.startswith(".")
        or "__MACOSX" in path.parts
    )


def refuse_lost_image(path: Path) -> None:
    """Refuse a file without the mark of DICOM that was an image once; left out, it would go unmissed.

    Raises:
        UnreadableFileError: no bytes, an end within the preamble, or the name of an image without its mark.
    """
    if is_side_file(path):
        return
    n_bytes = path.stat().st_size
    if n_bytes < _MARKED_BYTES or path.suffix.lower() in IMAGE_SUFFIXES:
        raise UnreadableFileError(
            f"file {path.name}",
            "must be a whole DICOM file, as the others are",
            f"{n_bytes} bytes" + ("" if n_bytes < _MARKED_BYTES else " without the mark of DICOM"),
            "Was the copy cut? Copy or export it again, or take the file out if it is no image.",
        )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a DICOM library raises inside the block into an `UnreadableFileError` about the file `name`.

    The library's own messages and warnings are left out: they may quote a patient's name or dates.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PoolError:
        raise
    except PermissionError as error:
        raise UnreadableFileError(f"file {name}", "must be readable", _in_words(error), _READ_REMEDY) from error
    except Exception as error:
        raise UnreadableFileError(
            f"file {name}",
            "must be a complete, valid DICOM file",
            f"{type(error).__name__} while reading it",
            "Was it cut or changed during export? Export it again.",
        ) from error


def read_header(path: Path) -> Dataset:
    """All of a file but its pixels.

    Raises:
        UnreadableFileError: broken, or deflated data that inflates beyond reason.
    """
    with reading(path.name):
        _refuse_bomb(path)
        return dcmread(path, stop_before_pixels=True)


def read_whole(path: Path) -> Dataset:
    """All of a file, for `read_pixels` to go on with; without pixels where they cannot be read.

    Raises:
        UnreadableFileError: as `read_header`.
    """
    with reading(path.name):
        _refuse_bomb(path)
        try:
            return dcmread(path)
        except Exception:  # cut within its pixels: that matters only if they are wanted
            return dcmread(path, stop_before_pixels=True)


def read_pixels(path: Path, whole: Dataset | None = None) -> np.ndarray:
    """Stored pixel values of one file as `frame row col`, before rescale slope and intercept.

    Args:
        path: the file.
        whole: what `read_whole` gave; None reads the file.

    Raises:
        UnreadableFileError: no pixels, fewer than declared, or more than `MOST_PIXELS`.
        UnsupportedFileError: colour, inverted grey scale, or a transfer syntax that cannot be decoded here.
    """
    name = path.name
    with reading(name):
        if whole is not None and "PixelData" in whole:
            dataset = whole
        else:
            _refuse_bomb(path)
            dataset = dcmread(path)
        _refuse_undecodable(name, dataset)
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        shape = (n_frames, int(dataset.Rows), int(dataset.Columns))
        if not 0 < math.prod(shape) <= MOST_PIXELS or min(shape) < 1:
            raise UnreadableFileError(
                f"file {name}", f"must declare between 1 and {MOST_PIXELS} pixels", f"{shape} (frames, rows, columns)"
            )
        if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") != "MONOCHROME2":
            raise UnsupportedFileError(
                f"file {name}",
                "must hold grey-scale pixels (MONOCHROME2, one sample a pixel)",
                str(dataset.get("PhotometricInterpretation")),
                "Send the scanner's original images.",
            )
        _refuse_short_pixels(name, dataset, math.prod(shape))
        stored = np.asarray(dataset.pixel_array)
        if stored.size != math.prod(shape):
            raise UnreadableFileError(
                f"file {name}",
                f"must hold the {math.prod(shape)} pixels it declares",
                f"{stored.size}",
                "Export it again.",
            )
        return _sign_extended(dataset, stored).reshape(shape)


def _in_words(error: OSError) -> str:
    return "permission denied" if isinstance(error, PermissionError) else (error.strerror or "an error").lower()


def _refuse_bomb(path: Path) -> None:
    """Look at the file meta group alone: a deflated data set inflates before any limit of the library applies."""
    with path.open("rb") as file:
        read_preamble(file, False)
        meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _refuse_inflation(path, file.read())


def _refuse_undecodable(name: str, dataset: Dataset) -> None:
    uid = UID(dataset.file_meta.get("TransferSyntaxUID", "") or "")
    if uid.is_private or (uid.is_transfer_syntax and not uid.is_compressed):
        return
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnsupportedFileError(
            f"file {name}",
            "must be in a transfer syntax that can be decoded here",
            f"{uid.name} ({uid})" if uid else "none",
            "Export it uncompressed (Explicit VR Little Endian).",
        )


def _refuse_inflation(path: Path, deflated: bytes) -> None:
    limit = INFLATED_RATIO * len(deflated) + INFLATED_SLACK
    inflater, inflated, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, deflated
    while rest and not inflater.eof:
        inflated += len(inflater.decompress(rest, _INFLATE_STEP))
        rest = inflater.unconsumed_tail
        if inflated > limit:
            raise UnreadableFileError(
                f"file {path.name}",
                f"deflated data may not grow beyond {limit // 2**20} MiB",
                f"{len(deflated)} bytes that inflate to more",
                "Export it uncompressed (Explicit VR Little Endian).",
            )


def _refuse_short_pixels(name: str, dataset: Dataset, n_pixels: int) -> None:
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword not in dataset:
            continue
        if dataset.file_meta.get("TransferSyntaxUID", UID("1.2.840.10008.1.2")).is_encapsulated:
            return
        expected, found = n_pixels * int(dataset.BitsAllocated) // 8, len(dataset[keyword].value or b"")
        if found < expected:
            raise UnreadableFileError(
                f"file {name}",
                f"must hold the {expected} bytes of pixels that its header declares",
                f"{found} bytes",
                "Was it cut during export? Export it again.",
            )
        return
    raise UnreadableFileError(f"file {name}", "must hold pixels", "none", "Was it cut during export? Export it again.")


def _sign_extended(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Signed pixels of fewer bits than their cell, with the sign in the highest *stored* bit (PS3.5, 8.1.1)."""
    if stored.dtype.kind != "i":
        return stored
    spare = stored.dtype.itemsize * 8 - int(dataset.get("BitsStored", stored.dtype.itemsize * 8))
    return (stored << spare) >> spare if spare > 0 else stored
