"""The training of a seed that survives being killed: after every epoch, all that an exact resume needs is on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import torch

from pool.weights import save_weights
from tune.asl.training import AslTraining
from tune.assemble import CHECKPOINT_MEMBER, Candidate, LocalFolder
from tune.errors import TrainingError
from tune.full_disk import RESUME, full_disk_in_words
from tune.reports import EpochReport

STATE_NAME = "state.pt"
"""Network, optimiser and reports after the last whole epoch; replaced whole or not at all."""


def train_seed(
    training: AslTraining,
    folder: Path,
    on_epoch: Callable[[EpochReport], None],
    on_resumed: Callable[[EpochReport], None] = lambda _report: None,
    go_on: str = RESUME,
) -> Candidate:
    """Train a seed to its end, from where the folder's state left it, and return its best epoch.

    The best epoch is the one with the greatest validation Dice, the first of equals. Its weights are written before the
    state that names it, and those of an earlier best are removed after, so that a state never lacks its weights.

    Args:
        training: of the seed, at its beginning.
        folder: of this seed alone; holds the state and the best epoch's weights.
        on_epoch: called with every epoch that is trained here, once it is on the disk.
        on_resumed: called with every epoch that was trained before.
        go_on: how, once a full disk has room.

    Raises:
        OutputError: the disk is full.
        TrainingError: the loss is no longer a number, or the state is damaged or of another training.
    """
    reports = _resumed(training, folder / STATE_NAME)
    for report in reports:
        on_resumed(report)
    for report in training.epochs():
        reports.append(report)
        with full_disk_in_words(f"state of seed {report.seed}, epoch {report.epoch}", folder, go_on):
            _save(training, reports, folder)
        on_epoch(report)
    return Candidate(_best(reports), LocalFolder(_weights_folder(folder, _best(reports))))


def _resumed(training: AslTraining, file: Path) -> list[EpochReport]:
    if not file.is_file():
        return []
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        training.load_state(state["training"])
        reports = [EpochReport(**fields) for fields in state["reports"]]
        best = _weights_folder(file.parent, _best(reports)) / f"{CHECKPOINT_MEMBER}.safetensors"
    except (UnpicklingError, EOFError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        raise _damaged(file, f"a damaged {file.name} ({type(error).__name__})") from error
    if not best.is_file():
        raise _damaged(file, f"no weights in {best.parent.name}, its best epoch")
    return reports


def _damaged(state: Path, found: str) -> TrainingError:
    seed, remedy = state.parent, "Remove that folder and give the command again: the seed then begins anew."
    return TrainingError(f"folder {'/'.join(seed.parts[-3:])}", "must hold a seed's state, whole", found, remedy)


def _save(training: AslTraining, reports: list[EpochReport], folder: Path) -> None:
    best = _best(reports)
    kept = _weights_folder(folder, best)
    if best is reports[-1]:
        save_weights(kept, CHECKPOINT_MEMBER, training.weights())
    part = folder / f"{STATE_NAME}.part"
    with part.open("wb") as file:
        torch.save({"training": training.state(), "reports": [report.to_dict() for report in reports]}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / STATE_NAME)
    for earlier in folder.glob("epoch-*"):
        if earlier != kept:
            shutil.rmtree(earlier)


def _best(reports: list[EpochReport]) -> EpochReport:
    return max(
        reports, key=lambda report: report.validation_dice
    )  # the first of equals; a recipe has an epoch at least


def _weights_folder(folder: Path, report: EpochReport) -> Path:
    return folder / f"epoch-{report.epoch:04d}"
