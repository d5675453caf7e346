"""Read one numeric array from a MATLAB file (MAT-5, what `save -v6` and `save -v7` write).

Why not scipy: its reader is compiled code that trusts the type numbers in the file. One changed byte (element type
0xac) ends the whole process with a segmentation fault (scipy 1.17.1), which no `except` catches; a service must not
fall to one file. Here every type, length and count is compared with what there is before it is used.

The format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf, chapter 1. A header of 128 bytes, then
elements: a tag of type and length, then data up to a multiple of 8 bytes. MATLAB stores numbers in the smallest type
that holds them, so that an array of class double may be stored as uint8.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from pool.errors import InconsistentStudyError, PoolError, UnreadableFileError, UnsupportedFileError
from pool.limits import MOST_ARRAY_BYTES, refuse_large

Order = Literal["<", ">"]
"""Byte order of a file, as numpy and struct write it."""
STORED_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Element types that hold numbers (table 1-1, miINT8 to miUINT64)."""
ARRAY_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Array classes that hold numbers (table 1-3, mxDOUBLE_CLASS to mxUINT64_CLASS)."""
OTHER_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque"}
"""Array classes that hold something else, in words."""
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_OPAQUE = 17
_ORDERS: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
_COMPLEX, _LOGICAL = 0x08, 0x02
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADER_BYTES = 128
_MOST_OPENING_BYTES = 4096
"""Tag, flags, dimensions and name of an array fit in here; names have at most 63 letters, arrays few dimensions."""


@dataclass(frozen=True)
class _Opening:
    """What stands before the numbers of an array."""

    array_class: int
    flags: int
    shape: tuple[int, ...]
    name: str
    end: int
    """Where the numbers begin, in bytes from the start of the array's content."""


def read_mat_array(path: Path, name: str, n_axes: int = 3, logical: bool = False) -> np.ndarray | None:
    """The top-level array `name`; None where the file holds no array of this name.

    Args:
        path, name: of the file and of the array in it.
        n_axes: dimensions that it must have: 3 for `row col time`, 2 for `row col`.
        logical: whether logical values will do, as 0 and 1.

    Returns:
        The numbers in the array's own class (double for MATLAB's default), native byte order, Fortran order.

    Raises:
        UnreadableFileError: damaged, cut, or larger than `MOST_ARRAY_BYTES`.
        UnsupportedFileError: version 7.3 (HDF5) or 4.
        InconsistentStudyError: complex, logical, sparse, text, cell, struct, or another number of dimensions.
    """
    for opening, content, order in _arrays(path):
        if opening.name == name:
            _refuse_other_kinds(path, opening, n_axes, logical)
            return _numbers(path, opening, content, order)
    return None


def mat_array_names(path: Path) -> tuple[str, ...]:
    """Names of the top-level arrays. Raises as `read_mat_array` for damaged and unsupported files."""
    return tuple(opening.name for opening, _, _ in _arrays(path))


def _arrays(path: Path) -> Iterator[tuple[_Opening, _Content, Order]]:
    with path.open("rb") as file:
        order = _byte_order(path, file.read(_HEADER_BYTES), file)
        size = path.stat().st_size
        at = _HEADER_BYTES
        while at < size:
            file.seek(at)
            kind, n_bytes = _words(path, file.read(8), order)
            at += 8
            if n_bytes > size - at:
                raise _damaged(path, "an element that is longer than the file")
            if kind not in (_MATRIX, _COMPRESSED):
                raise _damaged(path, f"an element of type {kind} where an array should be")
            content = _Content(path, file, n_bytes, order, compressed=kind == _COMPRESSED)
            if content.n_bytes:
                yield _opening(path, content.start(), order), content, order
            at += n_bytes  # MATLAB pads inside an array's length, and never after compressed data


class _Content:
    """The bytes of one array, plain or compressed, read no further than asked for."""

    def __init__(self, path: Path, file: BinaryIO, n_bytes: int, order: Order, compressed: bool) -> None:
        self._path, self._file, self._begin, self._stored = path, file, file.tell(), n_bytes
        self._compressed, self.n_bytes = compressed, n_bytes
        if compressed:
            kind, self.n_bytes = _words(path, self._inflated(8), order)
            if kind != _MATRIX:
                raise _damaged(path, f"a compressed element of type {kind} where an array should be")

    def start(self) -> bytes:
        """The first bytes, enough for the array's name."""
        return self._first(min(self.n_bytes, _MOST_OPENING_BYTES))

    def whole(self) -> bytes:
        """All bytes; compressed data must end with them and match their checksum."""
        if self.n_bytes > MOST_ARRAY_BYTES + _MOST_OPENING_BYTES:
            refuse_large(self._path.name, (self.n_bytes,), 1)
        found = self._first(self.n_bytes)
        if len(found) < self.n_bytes:
            raise _damaged(self._path, f"{len(found)} bytes of an array of {self.n_bytes}")
        return found

    def _first(self, n_bytes: int) -> bytes:
        if self._compressed:
            return self._inflated(8 + n_bytes, to_the_end=n_bytes == self.n_bytes)[8:]
        self._file.seek(self._begin)
        return self._file.read(n_bytes)

    def _inflated(self, n_bytes: int, to_the_end: bool = False) -> bytes:
        self._file.seek(self._begin)
        inflater = zlib.decompressobj()
        try:
            # deflate hardly ever grows data, so more input than this serves nothing; the one byte more of output
            # makes zlib meet the checksum
            found = inflater.decompress(self._file.read(min(self._stored, 2 * n_bytes + 2**16)), n_bytes + 1)
        except zlib.error as error:
            raise _damaged(self._path, "compressed data that is damaged") from error
        if to_the_end and (len(found) != n_bytes or not inflater.eof):
            raise _damaged(self._path, "compressed data of another length than it says")
        return found[:n_bytes]


def _byte_order(path: Path, header: bytes, file: BinaryIO) -> Order:
    file.seek(512)
    if header.startswith((_HDF5, b"MATLAB 7.3")) or file.read(8) == _HDF5:
        raise UnsupportedFileError(
            f"file {path.name}", "must be a MATLAB file up to version 7", "version 7.3", "Save it with -v7."
        )
    if _is_version_4(header):
        raise UnsupportedFileError(
            f"file {path.name}", "must be a MATLAB file of version 5 to 7", "version 4", "Save it with -v7."
        )
    order = _ORDERS.get(header[126:128])
    if order is None or struct.unpack(f"{order}H", header[124:126])[0] != 0x0100:
        raise _damaged(path, "no MATLAB header")
    return order


def _is_version_4(header: bytes) -> bool:
    """Version 4 begins with five numbers: type (below 5000), rows, columns, imaginary or not, length of the name."""
    if len(header) < 21:
        return False
    for order in "<>":
        kind, n_rows, n_cols, imaginary, n_letters = struct.unpack(f"{order}5I", header[:20])
        if kind < 5000 and n_rows and n_cols and imaginary in (0, 1) and 2 <= n_letters <= 64:
            return True
    return False


def _words(path: Path, data: bytes, order: Order) -> tuple[int, int]:
    if len(data) < 8:
        raise _damaged(path, "an element that ends within its tag")
    kind, n_bytes = struct.unpack(f"{order}2I", data[:8])
    return kind, n_bytes


def _element(path: Path, data: bytes, at: int, order: Order) -> tuple[int, int, int, int]:
    """Type of the element at `at`, where its data begin and end, and where the next element begins."""
    kind, n_bytes = _words(path, data[at : at + 8], order)
    if kind >> 16:  # up to four bytes stand within the tag
        kind, n_bytes = kind & 0xFFFF, kind >> 16
        if n_bytes > 4:
            raise _damaged(path, f"a short element of {n_bytes} bytes")
        return kind, at + 4, at + 4 + n_bytes, at + 8
    return kind, at + 8, at + 8 + n_bytes, at + 8 + -(-n_bytes // 8) * 8


def _opening(path: Path, data: bytes, order: Order) -> _Opening:
    at, parts = 0, []
    for wanted in (_UINT32, _INT32, _INT8):
        kind, begin, end, at = _element(path, data, at, order)
        if wanted == _INT32 and kind == _INT8:  # objects of newer MATLAB have a name and no dimensions
            return _Opening(_OPAQUE, 0, (), data[begin:end].decode("latin-1"), at)
        if kind != wanted or end > len(data):
            raise _damaged(path, "an array without flags, dimensions and name")
        parts.append(data[begin:end])
    flags, dimensions, name = parts
    if len(flags) != 8 or len(dimensions) % 4 or len(dimensions) < 8:
        raise _damaged(path, "an array without flags, dimensions and name")
    (word,) = struct.unpack(f"{order}I", flags[:4])
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    return _Opening(word & 0xFF, word >> 8 & 0xFF, shape, name.decode("latin-1"), at)


def _refuse_other_kinds(path: Path, opening: _Opening, n_axes: int, logical: bool) -> None:
    subject = f"file {path.name}"
    if opening.array_class not in ARRAY_CLASSES:
        if opening.array_class not in OTHER_CLASSES:
            raise _damaged(path, f"an array of class {opening.array_class}")
        found = f"a {OTHER_CLASSES[opening.array_class]} array"
    elif opening.flags & _COMPLEX:
        found = "complex numbers"
    elif opening.flags & _LOGICAL and not logical:
        found = "logical values"
    elif len(opening.shape) != n_axes:
        found = f"shape {opening.shape}"
    else:
        refuse_large(path.name, opening.shape, np.dtype(ARRAY_CLASSES[opening.array_class]).itemsize)
        return
    shape = "row col time" if n_axes == 3 else "row col"
    rule = f"{opening.name} must be real numbers of shape {shape}"
    raise InconsistentStudyError(subject, rule, found, f"Save it as a plain {n_axes}D array.")


def _numbers(path: Path, opening: _Opening, content: _Content, order: Order) -> np.ndarray:
    data = content.whole()
    kind, begin, end, _ = _element(path, data, opening.end, order)
    if kind not in STORED_TYPES:
        raise _damaged(path, f"numbers of type {kind}")
    stored, n_numbers = np.dtype(STORED_TYPES[kind]).newbyteorder(order), math.prod(opening.shape)
    if end > len(data) or end - begin != n_numbers * stored.itemsize:
        raise _damaged(path, f"{end - begin} bytes for {n_numbers} numbers")
    flat = np.frombuffer(data, stored, n_numbers, begin)
    wanted = np.dtype(ARRAY_CLASSES[opening.array_class])
    if wanted.kind in "iu" and stored != wanted.newbyteorder(order):
        limits = np.iinfo(wanted)
        if stored.kind == "f" or (n_numbers and (flat.min() < limits.min or flat.max() > limits.max)):
            raise _damaged(path, f"numbers of type {kind} that do not fit their class")
    return flat.astype(wanted).reshape(opening.shape, order="F")


def _damaged(path: Path, found: str) -> PoolError:
    return UnreadableFileError(
        f"file {path.name}", "must be a whole, readable .mat file", found, "Was it cut or changed? Save it again."
    )
