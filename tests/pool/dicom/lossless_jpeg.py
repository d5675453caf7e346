"""A lossless JPEG encoder (ITU-T T.81, process 14, predictor 1) in plain Python: a witness for the decoder."""

from __future__ import annotations

import numpy as np


def encode(image: np.ndarray, bits: int) -> bytes:
    """One grey-scale image `row col`; every difference category has a code of five bits, its own number."""
    rows, cols = image.shape
    frame = bytes([bits]) + rows.to_bytes(2, "big") + cols.to_bytes(2, "big") + bytes([1, 1, 0x11, 0])
    table = bytes([0]) + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    scan = bytes([1, 1, 0x00, 1, 0, 0])
    head = b"\xff\xd8" + b"".join(
        b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body
        for marker, body in ((0xC3, frame), (0xC4, table), (0xDA, scan))
    )
    return head + _entropy_coded(image.astype(np.int64), bits) + b"\xff\xd9"


def _entropy_coded(image: np.ndarray, bits: int) -> bytes:
    written = []
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            first_row = 1 << (bits - 1) if c == 0 else int(image[r, c - 1])
            predicted = int(image[r - 1, 0]) if c == 0 and r > 0 else first_row
            difference = (int(image[r, c]) - predicted + 32767) % 65536 - 32767
            category = abs(difference).bit_length()
            code = f"{category:05b}"
            if 0 < category < 16:
                code += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
            written.append(code)
    text = "".join(written)
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    return data.replace(b"\xff", b"\xff\x00")
