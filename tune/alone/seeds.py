"""Every seed a process; all of them share one GPU and one labelled set in its memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Empty

import torch
from torch import multiprocessing

from pool.weights import save_weights
from tune.assemble import CHECKPOINT_MEMBER, Candidate, LocalFolder
from tune.errors import TrainingError
from tune.reports import EpochReport
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining

REPORT_NAME = "report.json"
"""In a checkpoint's folder, beside its weights."""
LOOK_S = 1.0
"""How long to wait for a report before looking whether a process died [s]."""


def train_seeds(
    settings: TrainingSettings,
    samples: Samples | Path,
    folder: Path,
    device: str,
    n_at_once: int,
    on_epoch: Callable[[EpochReport], None],
) -> list[Candidate]:
    """Train all seeds and return every checkpoint.

    Args:
        settings: the recipe.
        samples: in the memory of `device`, which the processes share; or the folder of a labelled set, which each of
            them maps into its memory.
        folder: where checkpoints are written, a folder each.
        device: `cpu` or `cuda`.
        n_at_once: seeds that train at the same time.
        on_epoch: called with every finished epoch.

    Raises:
        TrainingError: a seed failed; its checkpoints stay in `folder`.
    """
    context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU that its parent has used
    reports = context.Queue()
    waiting = list(settings.seeds)
    running: dict[int, SpawnProcess] = {}
    n_threads = max(1, torch.get_num_threads() // n_at_once)
    while waiting or running:
        while waiting and len(running) < n_at_once:
            seed = waiting.pop(0)
            arguments = (settings, seed, samples, folder, device, n_threads, reports)
            running[seed] = context.Process(target=_train_seed, args=arguments, daemon=True)
            running[seed].start()
        with suppress(Empty):
            on_epoch(EpochReport(**reports.get(timeout=LOOK_S)))
        for seed, process in list(running.items()):
            if process.exitcode is None:
                continue
            del running[seed]
            if process.exitcode:
                for other in running.values():
                    other.terminate()
                raise TrainingError(
                    f"seed {seed}", "must train to its end", f"exit code {process.exitcode}", "Its error stands above."
                )
    while not reports.empty():
        on_epoch(EpochReport(**reports.get()))
    return read_candidates(folder, settings.seeds)


def read_candidates(folder: Path, seeds: Sequence[int]) -> list[Candidate]:
    """The checkpoints that lie in a folder, by seed and epoch."""
    found = [
        Candidate(EpochReport(**json.loads((path / REPORT_NAME).read_text(encoding="utf-8"))), LocalFolder(path))
        for path in sorted(folder.iterdir())
        if (path / REPORT_NAME).is_file()
    ]
    return [candidate for candidate in found if candidate.report.seed in seeds]


def _train_seed(
    settings: TrainingSettings,
    seed: int,
    source: Samples | Path,
    folder: Path,
    device: str,
    n_threads: int,
    reports: multiprocessing.Queue,
) -> None:
    torch.set_num_threads(n_threads)
    if device != "cpu":
        torch.backends.cudnn.benchmark = True  # every batch has the same shape: the fastest kernels, not the same bits
    samples = Samples.open(source) if isinstance(source, Path) else source
    training = SeedTraining(settings, seed, samples, samples.split(settings), device)
    for report in training.epochs():
        path = folder / f"s{seed}-e{report.epoch:03d}"
        save_weights(path, CHECKPOINT_MEMBER, training.weights())
        (path / REPORT_NAME).write_text(json.dumps(report.to_dict()) + "\n", encoding="utf-8")
        reports.put(report.to_dict())
