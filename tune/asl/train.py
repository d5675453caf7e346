"""From images to a pool folder: every seed trained in turn, its best epoch a member, all of it logged to MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from pool.errors import SettingsError
from pool.manifest import PoolManifest
from tune.asl.images import AslImages
from tune.asl.seed_folder import train_seed
from tune.asl.settings import AslTrainingSettings
from tune.asl.training import AslTraining
from tune.assemble import choose_members, write_pool
from tune.full_disk import RESUME
from tune.precision import resolve_precision
from tune.record import differing_fields, save_record
from tune.reports import EpochReport
from tune.start import StartPool
from tune.storage import EXPERIMENT_FOLDER, RECORD_NAME, Storage, refuse_unusable_places
from tune.tracking import LOG_FOLDER, Tracking, save_unsent_log


def train_asl(
    settings: AslTrainingSettings,
    images: AslImages,
    out_dir: Path,
    tracking_uri: str | None = None,
    name: str = "asl",
    start_from: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
    storage: Path | None = None,
    resume: bool = False,
    go_on: str | None = None,
) -> PoolManifest:
    """Train every seed and write the pool.

    Args:
        settings: the recipe; of the images it takes those of its kind.
        images: of all studies; the split into training and validation is the same for all recipes and kinds.
        out_dir: the pool folder, new or empty.
        tracking_uri: MLflow's; None tracks nothing.
        name: of the pool and of its run.
        start_from: a pool of the same networks whose members the seeds go on from (fine-tuning).
        device: torch's.
        on_epoch: called with every epoch that is trained.
        storage: folder where every seed's state is kept after every epoch, needed to resume; None keeps nothing.
        resume: go on with the training that `storage` holds. On a CPU the pool has the bits of one never stopped.
        go_on: how, once a full disk has room; None: with `--resume`, if there is a storage folder.

    Raises:
        SettingsError: images of which none is of the kind, a pool to start from of other networks, nothing to resume,
            or a resume with other settings, images, start, precision, kind of device or number of threads than the
            training was started with.
        OutputError: `out_dir` or `storage` is in use or cannot be written.
        TrainingError: the loss is no longer a number.
    """
    refuse_unusable_places(out_dir, storage, resume)
    start = StartPool.at(start_from, settings) if start_from is not None else None
    start_sha256 = start.sha256 if start is not None else None
    training, validation = images.of_kind(settings.images).split(settings.validation_share)
    data_sha256 = images.sha256()
    record = {
        "settings": settings.to_dict(),
        "data_sha256": data_sha256,
        "start_sha256": start_sha256,
        "arithmetic": _arithmetic(settings, device),
    }
    with ExitStack() as stack:
        folder = storage or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asl-training-")))
        if resume:
            _refuse_another_training(Storage.at(folder), record)
        tracking = Tracking(tracking_uri, folder / LOG_FOLDER)
        if storage is None:
            stack.callback(save_unsent_log, tracking, out_dir)
        stack.enter_context(tracking)
        tracking.start(name, settings, data_sha256, start_sha256)
        save_record(Storage.at(folder), record)

        def tell(report: EpochReport) -> None:
            tracking.log_epoch(report)
            on_epoch(report)

        go_on = go_on or (RESUME if storage is not None else "then train again, with --storage to keep what is done")
        best = []
        for seed in settings.seeds:
            weights = None if start is None else start.weights_of(start.member_of(seed))
            seed_training = AslTraining(settings, seed, training, validation, device, weights)
            seed_folder = folder / EXPERIMENT_FOLDER / f"seed-{seed}"
            best.append(train_seed(seed_training, seed_folder, tell, tracking.log_epoch, go_on))
        tracking.log_checkpoints(best, settings.network)
        chosen = choose_members(best, settings)
        manifest = write_pool(out_dir, name, chosen, settings, data_sha256, start_sha256=start_sha256)
        tracking.log_pool(manifest, out_dir, (), None)
    return manifest


def _arithmetic(settings: AslTrainingSettings, device: str) -> dict[str, Any]:
    """What the bits of a training depend on beside its recipe: another machine may differ in each of it."""
    return {
        "precision": resolve_precision(settings.precision, device),
        "device": torch.device(device).type,
        "threads": torch.get_num_threads(),
    }


def _refuse_another_training(storage: Storage, record: dict[str, Any]) -> None:
    """A state goes on only with what it was started with."""
    differing = differing_fields(storage, RECORD_NAME, record, f"storage folder {storage.name}", "training")
    if differing:
        rows = [
            f"{name.removeprefix('settings.').removeprefix('arithmetic.')} {asked} instead of {was}"
            for name, (asked, was) in differing.items()
        ]
        remedy = "Give what it was started with, or start another one in another folder."
        raise SettingsError("ASL training", "can be resumed only as it was started", ", ".join(rows), remedy)
