"""Files of every kind that the service reads, and ways to damage them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import scipy.io

from deploy.trials.studies import write_small_study
from pool.phantom.dicom_files import write_dicom_study
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study

N_FRAMES, N_PX = 12, 64
HOSTILE_NAMES = (
    "../../../etc/passwd",
    "/etc/shadow.zip",
    "SECRET^PATIENT.dcm",
    "a\0b.npz",
    "x" * 3000 + ".nii.gz",
    "\u202egnp.zip",
    "con.mat",
    "",
    "%2e%2e%2f.npz",
)


@dataclass(frozen=True)
class Upload:
    """Files of one request."""

    what: str
    """Which file, damaged how."""
    files: tuple[tuple[str, bytes], ...]
    """Name and content of each."""


def originals(folder: Path) -> list[Upload]:
    """Small whole files of every kind."""
    folder.mkdir(parents=True)
    frames = (np.random.default_rng(0).random((1, N_FRAMES, N_PX, N_PX)) * 1000).astype(np.float32)
    arrays = {"frames": frames, "times_s": np.arange(float(N_FRAMES)), "pixel_spacing_mm": np.array([1.9, 1.9])}
    found = [Upload("prepared npz", _one("p.npz", write_small_study(folder / "p.npz", 0).read_bytes()))]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    found.append(Upload("npz", _one("a.npz", buffer.getvalue())))
    scipy.io.savemat(folder / "a.mat", {"final_img": frames[0].transpose(1, 2, 0) / 1000}, do_compression=True)
    found.append(Upload("mat", _one("a.mat", (folder / "a.mat").read_bytes())))
    image = nibabel.Nifti1Image(frames[0].transpose(1, 2, 0)[:, :, None], np.diag([1.9, 1.9, 8, 1]))
    for suffix in (".nii", ".nii.gz"):
        nibabel.save(image, folder / f"a{suffix}")
        found.append(Upload(suffix[1:], _one(f"a{suffix}", (folder / f"a{suffix}").read_bytes())))
    write_dicom_study(make_study(get_preset("exD-1"), 7), folder / "dicom")
    dicom = [path.read_bytes() for path in sorted((folder / "dicom").rglob("*")) if path.is_file()][:N_FRAMES]
    found.append(Upload("dicom", tuple((f"IM{i:04d}", content) for i, content in enumerate(dicom))))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, content in enumerate(dicom):
            archive.writestr(f"SECRET^PATIENT/IM{i:04d}", content)
    found.append(Upload("zip", _one("study.zip", buffer.getvalue())))
    return found


def mutated(samples: list[Upload], rng: np.random.Generator) -> Iterator[Upload]:
    """Damaged uploads without end."""
    kinds = sorted(_WAYS)
    while True:
        sample = samples[rng.integers(len(samples))]
        way = kinds[rng.integers(len(kinds))]
        yield replace(_WAYS[way](sample, rng), what=f"{sample.what}, {way}")


def _one(name: str, content: bytes) -> tuple[tuple[str, bytes], ...]:
    return ((name, content),)


def _with_file(sample: Upload, rng: np.random.Generator, change: Callable[[bytes], bytes]) -> Upload:
    """One file changed, the others as they are."""
    k = int(rng.integers(len(sample.files)))
    files = [(name, change(content) if i == k else content) for i, (name, content) in enumerate(sample.files)]
    return replace(sample, files=tuple(files))


def _flipped(sample: Upload, rng: np.random.Generator) -> Upload:
    def change(content: bytes) -> bytes:
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=int(rng.integers(1, 40))):
            damaged[place] ^= int(rng.integers(1, 256))
        return bytes(damaged)

    return _with_file(sample, rng, change)


def _head_flipped(sample: Upload, rng: np.random.Generator) -> Upload:
    def change(content: bytes) -> bytes:
        damaged = bytearray(content)
        for place in rng.integers(min(len(damaged), 1024), size=int(rng.integers(1, 12))):
            damaged[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        return bytes(damaged)

    return _with_file(sample, rng, change)


def _cut(sample: Upload, rng: np.random.Generator) -> Upload:
    return _with_file(sample, rng, lambda content: content[: int(rng.integers(len(content)))])


def _doubled(sample: Upload, rng: np.random.Generator) -> Upload:
    def change(content: bytes) -> bytes:
        start, stop = sorted(rng.integers(len(content), size=2).tolist())
        return content[:stop] + content[start:stop] + content[stop:]

    return _with_file(sample, rng, change)


def _zeroed(sample: Upload, rng: np.random.Generator) -> Upload:
    def change(content: bytes) -> bytes:
        start, stop = sorted(rng.integers(len(content), size=2).tolist())
        return content[:start] + bytes(stop - start) + content[stop:]

    return _with_file(sample, rng, change)


def _random(sample: Upload, rng: np.random.Generator) -> Upload:
    return _with_file(sample, rng, lambda _: rng.bytes(int(rng.integers(1, 5000))))


def _misnamed(sample: Upload, rng: np.random.Generator) -> Upload:
    other = [".npz", ".mat", ".nii", ".nii.gz", ".zip", ".dcm", ""]
    files = [(f"x{rng.choice(other)}", content) for _, content in sample.files]
    return replace(sample, files=tuple(files))


def _badly_named(sample: Upload, rng: np.random.Generator) -> Upload:
    files = [(HOSTILE_NAMES[rng.integers(len(HOSTILE_NAMES))], content) for _, content in sample.files]
    return _flipped(replace(sample, files=tuple(files)), rng)


def _mixed(sample: Upload, rng: np.random.Generator) -> Upload:
    order = rng.permutation(len(sample.files))
    kept = [sample.files[i] for i in order[: int(rng.integers(1, len(sample.files) + 1))]]
    return replace(sample, files=(*kept, kept[0], ("empty", b"")))


_WAYS: dict[str, Callable[[Upload, np.random.Generator], Upload]] = {
    "bytes changed": _flipped,
    "head changed": _head_flipped,
    "cut": _cut,
    "piece doubled": _doubled,
    "piece zeroed": _zeroed,
    "random bytes": _random,
    "another suffix": _misnamed,
    "a hostile name": _badly_named,
    "files missing and doubled": _mixed,
}
