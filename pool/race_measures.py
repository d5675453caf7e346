"""U_pp of every member over the first patches of a sweep, for many numbers of patches at once, slice by slice: what a
race's levels, margins and shares are chosen from and judged by. `pool.bench.race_measuring` fills them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import UnreadableFileError
from pool.npzfile import read_npz_arrays


@dataclass(frozen=True, eq=False)
class RaceMeasures:
    """What was measured."""

    prefixes: tuple[int, ...]
    """Numbers of first patches, rising; the last is the full sweep."""
    dtypes: tuple[str, ...]
    member_ids: tuple[str, ...]
    slice_names: tuple[str, ...]
    u_tot: np.ndarray
    """Over the first patches: float64 `dtype slice member prefix`."""
    n_myo: np.ndarray
    """Pixels of the mask, which is the same over all prefixes: int64 `dtype slice member`."""
    pool_sha256: str
    """Hash of the pool's manifest."""

    @property
    def u_pp(self) -> np.ndarray:
        """float64 `dtype slice member prefix`; infinite where the mask is empty, so that such a member never wins."""
        n_myo = self.n_myo[..., None]
        return np.where(n_myo > 0, self.u_tot / np.maximum(n_myo, 1), np.inf)

    @classmethod
    def joined(cls, parts: Sequence[RaceMeasures]) -> RaceMeasures:
        """Of all slices of some measures that are alike in everything else."""
        return replace(
            parts[0],
            slice_names=tuple(name for part in parts for name in part.slice_names),
            u_tot=np.concatenate([part.u_tot for part in parts], axis=1),
            n_myo=np.concatenate([part.n_myo for part in parts], axis=1),
        )

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        words = {name: list(getattr(self, name)) for name in ("prefixes", "dtypes", "member_ids", "slice_names")}
        words["pool_sha256"] = [self.pool_sha256]
        np.savez_compressed(path, u_tot=self.u_tot, n_myo=self.n_myo, words=np.array(json.dumps(words)))

    @classmethod
    def load(cls, path: Path) -> RaceMeasures:
        """Read what `save` wrote.

        Raises:
            UnreadableFileError: not such a file.
        """
        try:
            arrays = read_npz_arrays(path, ("u_tot", "n_myo", "words"))
            words: dict[str, Any] = json.loads(str(arrays["words"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            rule = "must be what `python -m pool race-check` wrote"
            raise UnreadableFileError(f"file {path.name}", rule, str(error)) from error
        return cls(
            prefixes=tuple(words["prefixes"]),
            dtypes=tuple(words["dtypes"]),
            member_ids=tuple(words["member_ids"]),
            slice_names=tuple(words["slice_names"]),
            u_tot=arrays["u_tot"],
            n_myo=arrays["n_myo"],
            pool_sha256=words["pool_sha256"][0],
        )
