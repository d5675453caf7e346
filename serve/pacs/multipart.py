"""multipart/related bodies (RFC 2387) as DICOMweb uses them: read part by part onto disk, written without copies."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from python_multipart.multipart import MultipartParser, parse_options_header

from serve.errors import MalformedRequestError, UploadTooLargeError

MOST_PARTS = 50_000
"""Most parts of one body; a study of 3 x 90 classic frames has 270."""
_CHUNK = 2**20


class PartsToFiles:
    """Writes every part of a body into a file of its own as the bytes come.

    Args:
        content_type: of the body, with its boundary.
        folder: exists; files get running numbers.
        max_part_bytes: largest part.

    Raises:
        MalformedRequestError: another content type, or no boundary.
    """

    def __init__(self, content_type: str, folder: Path, max_part_bytes: int) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/related" or not 0 < len(boundary) <= 70:
            raise MalformedRequestError(
                "body", "must be multipart/related with a boundary", kind.decode("latin-1")[:40]
            )
        self.files: list[Path] = []
        self._folder, self._left, self._max = folder, 0, max_part_bytes
        self._sink: BinaryIO | None = None
        self._parser = MultipartParser(
            boundary,
            {"on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end},
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            MalformedRequestError: bytes that are no multipart body, or too many parts.
            UploadTooLargeError: a part that is too large.
        """
        try:
            self._parser.write(chunk)
        except ValueError as error:
            raise MalformedRequestError("body", "must be a whole multipart body", type(error).__name__) from error

    def close(self) -> list[Path]:
        """The files, once the body has ended.

        Raises:
            MalformedRequestError: it ended within a part.
        """
        if self._sink is not None:
            self._sink.close()
            raise MalformedRequestError("body", "must be a whole multipart body", "an end within a part")
        return self.files

    def _begin(self) -> None:
        if len(self.files) >= MOST_PARTS:
            raise MalformedRequestError("body", f"may have at most {MOST_PARTS} parts", "more")
        path = self._folder / f"{len(self.files):06d}"
        self._sink, self._left = path.open("xb"), self._max
        self.files.append(path)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._left -= end - start
        if self._left < 0:
            raise UploadTooLargeError("part", f"may have at most {self._max / 1e6:g} MB", "more")
        assert self._sink is not None
        self._sink.write(data[start:end])

    def _end(self) -> None:
        assert self._sink is not None
        self._sink.close()
        self._sink = None


def related_body(files: Sequence[Path]) -> tuple[str, Iterable[bytes]]:
    """Content type and chunks of a body with one application/dicom part a file."""
    boundary = secrets.token_hex(24)

    def chunks() -> Iterator[bytes]:
        for path in files:
            yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return f'multipart/related; type="application/dicom"; boundary={boundary}', chunks()
