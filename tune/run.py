"""One call from a labelled set to a pool folder: trials, choice of members, pool, MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pool.errors import SettingsError
from pool.manifest import PoolManifest
from tune.assemble import choose_members, write_pool
from tune.cluster import running_ray
from tune.nodes import refuse_unshared
from tune.progress import TrainingProgress
from tune.record import refuse_another_training, save_record, training_record
from tune.resources import Resources
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.storage import EXPERIMENT_FOLDER, Storage, refuse_unusable_places
from tune.suitable import refuse_unsuitable
from tune.tracking import LOG_FOLDER, Tracking, save_unsent_log
from tune.tracking.overlays import member_overlays
from tune.tracking.registry import RegistryName


def train_pool(
    settings: TrainingSettings,
    data: Path,
    out_dir: Path,
    tracking_uri: str | None = None,
    storage_path: str | Path | Storage | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    resources: Resources | None = None,
    name: str = "pool",
    resume: bool = False,
    register: RegistryName | None = None,
    half_weights: bool = False,
    start_from: Path | None = None,
) -> PoolManifest:
    """Train every seed of `settings` in parallel and write the pool.

    Args:
        settings: the recipe; the network gets as many classes as the set has.
        data: folder of a labelled set (`pool.labelled_set`).
        out_dir: the pool folder, new or empty.
        tracking_uri: MLflow's, see `tune.tracking`; None tracks nothing.
        storage_path: where checkpoints are kept, needed to resume: a folder, or a URI such as `s3://bucket/folder`,
            that every node reaches; None keeps them in a temporary folder of this machine.
        on_progress: called in this process every few seconds.
        resources: of one trial, and the cluster's address.
        name: of the pool and of its parent run.
        resume: continue the training that `storage_path` holds; only the choice of members may differ.
        register: the registered model in MLflow that the pool becomes a version of; None registers nothing.
        half_weights: store the members' filters as float16, see `pool.weights.save_weights`.
        start_from: a pool folder, at the same path on every node, whose members the seeds go on from (`StartPool`);
            None draws their weights.

    Raises:
        SettingsError: settings that do not suit the data or the pool to start from, more resources than the cluster
            has, or a resume with other settings, data, start or resources than the training was started with.
        PoolError: the labelled set or the pool to start from is not what its manifest says.
        OutputError: `out_dir` or `storage_path` is in use, or cannot be written.
        TrainingError: training failed, or gave too few good checkpoints.
        KeyboardInterrupt: Ctrl-C; checkpoints in `storage_path` stay, so that it can be resumed.
    """
    resources = resources or Resources()
    if register is not None and tracking_uri is None:
        raise SettingsError("training", "can register its pool only with MLflow", "none", "Give a tracking URI.")
    refuse_unusable_places(out_dir, storage_path, resume)
    samples = Samples.open(data, verify=True)
    settings = samples.settings_for_classes(settings)
    refuse_unsuitable(samples, samples.split(settings), settings)
    start = StartPool.at(start_from, settings) if start_from is not None else None
    start_sha256 = start.sha256 if start is not None else None
    record = training_record(settings, data, samples.data_sha256, resources, start)
    with ExitStack() as stack:
        storage = Storage.at(storage_path or stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-training-")))
        if resume:
            refuse_another_training(storage, record)
        tracking = Tracking(tracking_uri, _log_folder(storage, out_dir))
        if storage_path is None:
            stack.callback(save_unsent_log, tracking, out_dir)
        stack.enter_context(tracking)
        tracking.start(name, settings, samples.data_sha256, start_sha256)
        stack.enter_context(running_ray(resources))
        folders = {f"labelled set {data.name}": data.resolve()}
        if start is not None:
            folders[f"pool {start.folder.name}"] = start.folder
        refuse_unshared(resources, folders, storage)
        save_record(storage, record)
        from tune.trainable import DriverCallback, run_trials

        callback = DriverCallback(settings, on_progress, tracking.log_epoch)
        candidates = run_trials(settings, data, storage.folder(EXPERIMENT_FOLDER), resources, callback, resume, start)
        tracking.log_checkpoints(candidates, settings.network)
        chosen = choose_members(candidates, settings)
        manifest = write_pool(out_dir, name, chosen, settings, samples.data_sha256, half_weights, start_sha256)
        tracking.log_pool(manifest, out_dir, member_overlays(data, settings, out_dir), register)
    return manifest


def _log_folder(storage: Storage, out_dir: Path) -> Path:
    """Of MLflow's journal, which needs a disk: beside the pool where the storage is none."""
    return (storage.local or out_dir.resolve().with_name(f"{out_dir.name}-storage")) / LOG_FOLDER
