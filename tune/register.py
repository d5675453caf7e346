"""A pool folder, whoever made it and when, as a version of a registered model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pool.manifest import MANIFEST_NAME, PoolManifest, verify_pool
from tune.errors import MlflowError
from tune.mlflow_store import connect, find_or_make_experiment
from tune.tracking.recorder import EXPERIMENT
from tune.tracking.registry import POOL_TAG, RegistryName, register_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def register_pool(pool_dir: Path, uri: str, target: RegistryName, experiment: str = EXPERIMENT) -> str:
    """Register a pool; one that is registered under that name already keeps its version, and only the alias moves.

    The version belongs to the run of the pool's training, where the store knows it; else to a run made for it.

    Args:
        pool_dir: the pool; every weight is verified first.
        uri: of the MLflow store.
        target: name and alias.
        experiment: where a run is made for a pool that the store does not know.

    Returns:
        The version.

    Raises:
        PoolFolderError: see `verify_pool`.
        MlflowError: the store cannot be reached, or refuses.
    """
    manifest = verify_pool(pool_dir)
    paths = [*(pool_dir / member.weights_name for member in manifest.members), pool_dir / MANIFEST_NAME]
    try:
        client = connect(uri)
        run = _training_run(client, manifest)
        if run is None:
            run = _make_run(client, manifest, find_or_make_experiment(client, experiment, uri))
        return register_files(client, run.info.experiment_id, run.info.run_id, manifest, paths, target)
    except Exception as error:
        found = str(error).partition("\n")[0][:200].rstrip(".") or type(error).__name__
        remedy = "Is the server running, and is --mlflow right? Once it is, the same command goes on where it stopped."
        raise MlflowError(f"registered model {target.name}", "must be taken by MLflow", found, remedy) from error


def _training_run(client: MlflowClient, manifest: PoolManifest) -> Run | None:
    experiments = [str(item.experiment_id) for item in client.search_experiments()]
    wanted = f"tags.{POOL_TAG} = '{manifest.sha256()}' and tags.kind = 'pool'"
    found = client.search_runs(experiments, wanted, max_results=1)
    return found[0] if found else None


def _make_run(client: MlflowClient, manifest: PoolManifest, experiment_id: str) -> Run:
    provenance = manifest.provenance
    tags = {"kind": "pool", "origin": "folder", POOL_TAG: manifest.sha256()}
    tags |= {key: str(provenance[key]) for key in ("data_sha256", "settings_sha256") if key in provenance}
    run = client.create_run(experiment_id, run_name=manifest.name, tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED")
    return run
