"""One call from a labelled set to a pool folder: trials, choice of members, pool, MLflow."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pool.errors import SettingsError
from pool.manifest import PoolManifest
from tune.assemble import choose_members, write_pool
from tune.progress import TrainingProgress
from tune.resources import Resources
from tune.samples import Samples, n_steps_per_epoch
from tune.settings import TrainingSettings
from tune.storage import (
    EXPERIMENT_FOLDER,
    refuse_another_training,
    refuse_unusable_places,
    save_record,
    training_record,
)
from tune.tracking import LOG_FOLDER, Tracking
from tune.tracking.overlays import member_overlays
from tune.tracking.registry import RegistryName

OBJECT_STORE_BYTES = 150_000_000
"""Of a local Ray: slices are memory-mapped and never pass through the object store."""


def train_pool(
    settings: TrainingSettings,
    data: Path,
    out_dir: Path,
    tracking_uri: str | None = None,
    storage_path: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    resources: Resources | None = None,
    name: str = "pool",
    resume: bool = False,
    register: RegistryName | None = None,
) -> PoolManifest:
    """Train every seed of `settings` in parallel and write the pool.

    Args:
        settings: the recipe; the network gets as many classes as the set has.
        data: folder of a labelled set (`pool.labelled_set`).
        out_dir: the pool folder, new or empty.
        tracking_uri: MLflow's, see `tune.tracking`; None tracks nothing.
        storage_path: where checkpoints are kept, needed to resume; None keeps them in a temporary folder.
        on_progress: called in this process every few seconds.
        resources: of one trial, and the cluster's address.
        name: of the pool and of its parent run.
        resume: continue the training that `storage_path` holds; only the choice of members may differ.
        register: the registered model in MLflow that the pool becomes a version of; None registers nothing.

    Raises:
        SettingsError: settings that do not suit the data, more resources than the cluster has, or a resume with
            other settings, data or resources than the training was started with.
        PoolError: the labelled set is not what its manifest says.
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
    n_steps_per_epoch(len(samples.split(settings).training), settings)
    if samples.n_frames != settings.network.n_frames:
        raise SettingsError("labelled set", f"needs {settings.network.n_frames} frames a slice", str(samples.n_frames))
    record = training_record(settings, data, samples.data_sha256, resources)
    if resume and storage_path is not None:
        refuse_another_training(storage_path, record)
    with ExitStack() as stack:
        storage = storage_path or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-training-")))
        storage = storage.resolve()
        storage.mkdir(parents=True, exist_ok=True)
        tracking = Tracking(tracking_uri, storage / LOG_FOLDER)
        if storage_path is None:
            stack.callback(_save_unsent_log, tracking, out_dir)
        stack.enter_context(tracking)
        tracking.start(name, settings, samples.data_sha256)
        stack.enter_context(running_ray(resources))
        save_record(storage, record)
        from tune.trainable import DriverCallback, run_trials

        callback = DriverCallback(settings, on_progress, tracking.log_epoch)
        candidates = run_trials(settings, data, storage / EXPERIMENT_FOLDER, resources, callback, resume)
        tracking.log_checkpoints(candidates, settings.network)
        manifest = write_pool(out_dir, name, choose_members(candidates, settings), settings, samples.data_sha256)
        tracking.log_pool(manifest, out_dir, member_overlays(data, settings, out_dir), register)
    return manifest


def _save_unsent_log(tracking: Tracking, out_dir: Path) -> None:
    if tracking.n_unsent:
        folder = Path(tempfile.mkdtemp(prefix=f"{out_dir.name}-unsent-log-", dir=out_dir.resolve().parent))
        tracking.move_unsent_log(folder)


@contextmanager
def running_ray(resources: Resources) -> Iterator[None]:
    """A Ray that can hold at least one trial; one that was not running before is stopped afterwards.

    Raises:
        SettingsError: a trial asks for more than the cluster has; Ray itself would wait for ever.
    """
    # Local Ray listens on loopback only; a cluster brings its own token through the environment.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if resources.address is None else "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    owned = not ray.is_initialized()
    if owned and resources.address is not None:
        ray.init(address=resources.address, log_to_driver=False, logging_level=logging.ERROR)
    elif owned:
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
        )
    try:
        for kind, wanted in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
            found = ray.cluster_resources().get(kind, 0.0)
            if wanted > found:
                raise SettingsError(
                    "resources", f"a trial's {wanted:g} {kind}s must exist in the cluster", f"{found:g}"
                )
        yield
    finally:
        if owned:
            ray.shutdown()
