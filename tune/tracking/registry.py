"""The registry: a whole pool as a version of a registered model. Every step finds what an earlier try left."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.errors import SettingsError
from pool.manifest import PoolManifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

DEFAULT_ALIAS = "champion"
MODEL_TYPE = "perfusion-pool"
POOL_TAG = "pool_sha256"
"""Tag of runs, models and versions: the manifest's hash."""
_VERSIONS_TAG = "mlflow.modelVersions"


@dataclass(frozen=True)
class RegistryName:
    """Where a pool is registered.

    Raises:
        SettingsError: a name or alias that MLflow would refuse, at the latest when it is looked up.
    """

    name: str
    """Of the registered model."""
    alias: str = DEFAULT_ALIAS
    """Points to one version, from now on to this one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            rule = "name must be letters, digits, dots and dashes, at most 64"
            raise SettingsError("registered model", rule, repr(self.name))
        reserved = self.alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", self.alias)
        if reserved or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.alias):
            rule = "alias must be letters, digits and dashes, but neither `latest` nor `v1`"
            raise SettingsError("registered model", rule, repr(self.alias))

    @classmethod
    def parse(cls, text: str) -> RegistryName:
        """From `NAME` or `NAME@ALIAS`."""
        name, at, alias = text.partition("@")
        return cls(name, alias) if at else cls(name)


def register_files(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    manifest: PoolManifest,
    paths: Sequence[Path],
    target: RegistryName,
) -> str:
    """Make a pool a version of a registered model and point the alias to it.

    Args:
        client: of the store.
        experiment_id: that the model belongs to.
        run_id: of the run that it came from.
        manifest: of the pool; a pool that is registered under this name already keeps its version.
        paths: its files, the manifest last, so that a model with a manifest is whole.
        target: name and alias.

    Returns:
        The version.
    """
    pool_sha256 = manifest.sha256()
    found = client.search_model_versions(f"name = '{target.name}' and tags.{POOL_TAG} = '{pool_sha256}'")
    if found:
        version = str(max(int(item.version) for item in found))
    else:
        model = _logged_model(client, experiment_id, run_id, manifest, paths)
        version = _make_version(client, run_id, model, manifest, target.name)
    client.set_registered_model_alias(target.name, target.alias, version)
    return version


def _logged_model(
    client: MlflowClient, experiment_id: str, run_id: str, manifest: PoolManifest, paths: Sequence[Path]
) -> LoggedModel:
    """The pool as MLflow's logged model: an earlier one if it is whole or can be made whole."""
    pool_sha256 = manifest.sha256()
    found = client.search_logged_models([experiment_id], filter_string=f"tags.{POOL_TAG} = '{pool_sha256}'")
    by_readiness = sorted(found, key=lambda model: str(model.status) != "READY")
    if by_readiness and str(by_readiness[0].status) == "READY":
        return by_readiness[0]
    if by_readiness:
        model = by_readiness[0]
    else:
        tags = {POOL_TAG: pool_sha256, "pool": manifest.name}
        params = {"n_members": str(manifest.n_members)}
        model = client.create_logged_model(experiment_id, manifest.name, run_id, tags, params, MODEL_TYPE)
    for path in paths:
        client.log_model_artifact(model.model_id, str(path))
    _log_scores(client, run_id, model, manifest)
    return client.finalize_logged_model(model.model_id, "READY")


def _log_scores(client: MlflowClient, run_id: str, model: LoggedModel, manifest: PoolManifest) -> None:
    """Validation Dice of the members as metrics of the model, at the model's own time, so that they stay single."""
    scores = [member.validation_dice for member in manifest.members]
    values = {"best_validation_dice": max(scores), "mean_validation_dice": sum(scores) / len(scores)}
    for name, value in values.items():
        client.log_metric(run_id, name, value, model.creation_timestamp, 0, model_id=model.model_id)


def _make_version(client: MlflowClient, run_id: str, model: LoggedModel, manifest: PoolManifest, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description="Pool of networks for perfusion studies. Research use only.")
    tags = {POOL_TAG: manifest.sha256(), "pool": manifest.name, "n_members": str(manifest.n_members)}
    # The model's own location, because `models:/m-...` is looked up in MLflow's global store, not in the client's.
    version = client.create_model_version(
        name,
        model.artifact_location,
        run_id,
        tags,
        description=f"{manifest.n_members} members",
        model_id=model.model_id,
    )
    known = json.loads(model.tags.get(_VERSIONS_TAG, "[]"))
    links = [*known, {"name": name, "version": int(version.version)}]
    client.set_logged_model_tags(model.model_id, {_VERSIONS_TAG: json.dumps(links)})
    return str(version.version)
