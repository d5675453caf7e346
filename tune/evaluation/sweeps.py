"""Sweeps that are kept on disk: an evaluation that was interrupted, or gets another set, sweeps no slice twice."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.errors import OutputError
from pool.member import Member, Pool
from pool.preprocess import PreparedSlice
from pool.selection import MemberScore
from pool.shapes import Mask
from pool.sweep import SweepSettings

FOLDER = "sweeps"


@dataclass(frozen=True, eq=False)
class MemberAnswer:
    """What an evaluation keeps of a member's maps."""

    mask: Mask
    u_tot: float

    def score(self, member: Member) -> MemberScore:
        """As a selection rule sees it."""
        entry = member.entry
        return MemberScore.from_numbers(entry.id, entry.validation_dice, self.u_tot, int(self.mask.sum()))


class KeptSweeps:
    """Answers of a pool's members to slices, kept in `OUT/sweeps/`, a file a slice.

    A file is found by the pool's SHA-256, the strides and patch size, and the SHA-256 of the slice's pixels, so that
    nothing else can be taken for it. Threads and device are not part of that: they change last bits of a U-map alone.

    Args:
        out_dir: folder of the evaluation.
        pool: all members.
        settings: of the sweep.
    """

    def __init__(self, out_dir: Path, pool: Pool, settings: SweepSettings) -> None:
        self._pool, self._settings = pool, settings
        patch = f"stride-{settings.stride_px}-mask-{settings.mask_stride_px}-patch-{settings.patch_px}-no-strays"
        self._folder = out_dir / FOLDER / f"{pool.manifest.sha256()[:16]}-{patch}"
        self._n_swept = self._n_kept = 0

    @property
    def n_swept(self) -> int:
        """Sweeps made so far."""
        return self._n_swept

    @property
    def n_kept(self) -> int:
        """Sweeps found on disk so far."""
        return self._n_kept

    def answers(self, prepared: PreparedSlice, on_sweep: Callable[[], None]) -> dict[str, MemberAnswer]:
        """Every member's answer to a slice, by id; each is on disk as soon as it is there.

        Args:
            prepared: the slice.
            on_sweep: called after each sweep, and once when a slice's kept sweeps were found.

        Raises:
            SettingsError: a slice with another number of frames than the networks take.
            OutputError: the folder cannot be written.
        """
        frames = prepared.frames
        path = self._folder / f"{hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()[:32]}.npz"
        wanted = {member.entry.id: member for member in self._pool.of_patches}
        found = {key: answer for key, answer in _read(path, frames.shape[1:]).items() if key in wanted}
        self._n_kept += len(found)
        on_sweep()
        for member_id, member in wanted.items():
            if member_id in found:
                continue
            maps = member.analyse(prepared, self._settings)
            assert maps is not None  # nothing asks it to stop
            found[member_id] = MemberAnswer(maps.mask, maps.u_tot)
            _write(path, found)
            self._n_swept += 1
            on_sweep()
        return found


def _read(path: Path, shape: tuple[int, ...]) -> dict[str, MemberAnswer]:
    """Nothing where there is no file, or one that was damaged: its sweeps are made again."""
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as kept:
            ids, masks, u_tot = kept["ids"].tolist(), np.unpackbits(kept["masks"], axis=-1), kept["u_tot"].tolist()
        whole = masks[..., : int(np.prod(shape))].astype(bool).reshape(len(ids), *shape)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return {member_id: MemberAnswer(mask, value) for member_id, mask, value in zip(ids, whole, u_tot)}


def _write(path: Path, answers: dict[str, MemberAnswer]) -> None:
    buffer = io.BytesIO()
    masks = np.packbits([answer.mask.ravel() for answer in answers.values()], axis=-1)
    np.savez(buffer, ids=np.array(list(answers)), masks=masks, u_tot=np.array([a.u_tot for a in answers.values()]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, path)
    except OSError as error:
        found, remedy = error.strerror or str(error), "Mend that and give the same command again: sweeps are kept."
        raise OutputError(f"folder {FOLDER}", "must be writable", found, remedy) from error
