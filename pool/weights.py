"""A member's weights on disk: safetensors, verified from the very bytes that are loaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from pool.errors import PoolFolderError, WeightsHashError

if TYPE_CHECKING:
    from pool.manifest import MemberEntry


def save_weights(folder: Path, member_id: str, state: dict[str, Tensor], half: bool = False) -> str:
    """Write a member's weights into a pool folder and return their SHA-256. Whole or not at all.

    Args:
        folder: of the pool, made if it does not exist.
        member_id: names the file.
        state: the network's weights.
        half: store filters as float16, half the size; biases and batch statistics, a hundredth of a network, stay as
            they are, because small variances would vanish.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if half:
        stored = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in stored.items()}
    data = save_safetensors(stored)
    write_whole(folder / f"{member_id}.safetensors", data)
    return hashlib.sha256(data).hexdigest()


def load_weights(folder: Path, entry: MemberEntry) -> dict[str, Tensor]:
    """Read a member's weights and verify them against the manifest, from the same bytes.

    Raises:
        PoolFolderError: the file is missing.
        WeightsHashError: its bytes are not the ones in the manifest.
    """
    path = Path(folder) / entry.weights_name
    if not path.is_file():
        raise PoolFolderError(f"member {entry.id}", f"needs its weights {entry.weights_name}", "no such file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PoolFolderError(f"member {entry.id}", "weights must be readable", error.strerror or "") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.weights_sha256:
        raise WeightsHashError(
            f"member {entry.id}",
            f"weights must have SHA-256 {entry.weights_sha256[:12]}...",
            f"{found[:12]}...",
            "The file was changed or damaged; get the pool again.",
        )
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise PoolFolderError(f"member {entry.id}", "weights must be a safetensors file", str(error)) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole and synced, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
