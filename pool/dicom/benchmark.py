"""How long a study takes from files to prepared slices: `python -m pool.dicom.benchmark`, part of `make bench`."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from pool.inputs import open_study
from pool.phantom.dicom_common import decimal
from pool.phantom.dicom_files import write_dicom_study
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.preprocess import prepare

N_SLICES, N_FRAMES, N_PX = 3, 60, 256


def main() -> None:
    """Write a phantom study of 3 x 60 frames of 256 x 256, read and prepare it, print seconds of one processor."""
    parser = argparse.ArgumentParser(description="files to prepared slices")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_dicom_study(make_study(get_preset("exD-1"), seed=1, n_frames=N_FRAMES), Path(folder) / "study")
        for path in files:
            _enlarge(path)
        seconds = []
        for _ in range(options.repeats):
            start = time.process_time()
            study = open_study(Path(folder) / "study")
            read_s = time.process_time() - start
            prepare(study.series)
            seconds.append((time.process_time() - start, read_s))
    assert study.series.frames.shape == (N_SLICES, N_FRAMES, N_PX, N_PX)
    total_s, read_s = min(seconds)
    print(
        f"{N_SLICES} x {N_FRAMES} frames of {N_PX} x {N_PX}: {total_s:.2f} s of a processor "
        f"(read and grouped {read_s:.2f} s, prepared {total_s - read_s:.2f} s), best of {options.repeats}"
    )


def _enlarge(path: Path) -> None:
    """The same field of view in 256 x 256 pixels: nearest neighbours, as only the time matters."""
    from pydicom import dcmread

    file = dcmread(path)
    pixels = file.pixel_array
    rows, cols = (np.arange(N_PX) * n // N_PX for n in pixels.shape)
    file.PixelSpacing = [decimal(float(s) * n / N_PX) for s, n in zip(file.PixelSpacing, pixels.shape, strict=True)]
    file.Rows, file.Columns = N_PX, N_PX
    file.PixelData = np.ascontiguousarray(pixels[rows][:, cols]).astype("<u2").tobytes()
    file.save_as(path)


if __name__ == "__main__":
    main()
