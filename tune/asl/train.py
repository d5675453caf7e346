"""From images to a pool folder: every seed trained in turn, its best epoch a member, all of it logged to MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pool.manifest import PoolManifest
from pool.weights import save_weights
from tune.asl.images import AslImages
from tune.asl.settings import AslTrainingSettings
from tune.asl.training import AslTraining
from tune.assemble import CHECKPOINT_MEMBER, Candidate, LocalFolder, choose_members, refuse_used_folder, write_pool
from tune.reports import EpochReport
from tune.start import StartPool
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
        on_epoch: called with every finished epoch.

    Raises:
        SettingsError: images of which none is of the kind, or a pool to start from of other networks.
        OutputError: `out_dir` is in use or cannot be written.
        TrainingError: the loss is no longer a number.
    """
    refuse_used_folder(out_dir, may_be_cut_short=False)
    start = StartPool.at(start_from, settings) if start_from is not None else None
    start_sha256 = start.sha256 if start is not None else None
    training, validation = images.of_kind(settings.images).split(settings.validation_share)
    data_sha256 = images.sha256()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asl-training-")))
        tracking = Tracking(tracking_uri, folder / LOG_FOLDER)
        stack.callback(save_unsent_log, tracking, out_dir)
        stack.enter_context(tracking)
        tracking.start(name, settings, data_sha256, start_sha256)
        best = []
        for seed in settings.seeds:
            weights = None if start is None else start.weights_of(start.member_of(seed))
            seed_training = AslTraining(settings, seed, training, validation, device, weights)
            best.append(_best_epoch(seed_training, folder / f"seed-{seed}", tracking, on_epoch))
        tracking.log_checkpoints(best, settings.network)
        chosen = choose_members(best, settings)
        manifest = write_pool(out_dir, name, chosen, settings, data_sha256, start_sha256=start_sha256)
        tracking.log_pool(manifest, out_dir, (), None)
    return manifest


def _best_epoch(
    training: AslTraining, folder: Path, tracking: Tracking, on_epoch: Callable[[EpochReport], None]
) -> Candidate:
    """The epoch with the best validation Dice, the first of equals; its weights lie in the folder."""
    best: EpochReport | None = None
    for report in training.epochs():
        tracking.log_epoch(report)
        on_epoch(report)
        if best is None or report.validation_dice > best.validation_dice:
            save_weights(folder, CHECKPOINT_MEMBER, training.weights())
            best = report
    assert best is not None  # a recipe has at least one epoch
    return Candidate(best, LocalFolder(folder))
