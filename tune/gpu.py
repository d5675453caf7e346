"""A trial's share of a GPU, in the worker process that trains on it."""

from __future__ import annotations

import torch

from tune.errors import TrainingError


def take_gpu(n_gpus: float) -> None:
    """Make sure that there is CUDA, and keep to a share of the memory where the GPU is shared.

    Ray counts shares but does not enforce them. All trials are alike, so equal shares of the memory are fair; without
    a limit whoever asks last would fail for the memory that the others only cache.

    Args:
        n_gpus: of this trial; below 1 it is a share of one GPU.

    Raises:
        TrainingError: this process has no CUDA.
    """
    if not torch.cuda.is_available():
        raise TrainingError(
            "GPU of a trial",
            f"{n_gpus:g} GPUs a trial need a CUDA build of torch and its driver on every node with GPUs",
            "a process without CUDA",
            "Install them there, or train with --gpus 0.",
        )
    if n_gpus < 1.0:
        torch.cuda.set_per_process_memory_fraction(n_gpus)
