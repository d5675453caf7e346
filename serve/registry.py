"""A pool by its name in an MLflow registry: resolved once, to a version, and kept in a folder.

The only file of the service that knows MLflow, and it imports it only for a pool that is named so. What was fetched is
used only once every hash has been verified: a registry is trusted with names, not with content.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.errors import OutputError, PoolFolderError, SettingsError
from pool.manifest import MANIFEST_NAME, verify_pool
from serve.errors import PoolRegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
POOL_TAG = "pool_sha256"
"""Tag of a version: hash of the manifest that was registered."""
_FORM = re.compile(r"models:/([A-Za-z0-9][A-Za-z0-9._-]*)(?:@([A-Za-z0-9_-]+)|/([1-9][0-9]*))")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredPool:
    """A pool's name in a registry: an alias or a version."""

    name: str
    alias: str
    """Empty where the version is given."""
    version: str
    """Empty where the alias is given."""

    @classmethod
    def parse(cls, text: str) -> RegisteredPool:
        """From `models:/NAME@ALIAS` or `models:/NAME/3`.

        Raises:
            SettingsError: another form.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise SettingsError("registered pool", "must be models:/NAME@ALIAS or models:/NAME/VERSION", repr(text))
        return cls(found[1], found[2] or "", found[3] or "")

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}@{self.alias}" if self.alias else f"{SCHEME}{self.name}/{self.version}"


def fetch_pool(wanted: RegisteredPool, uri: str, cache_dir: Path) -> tuple[Path, RegisteredPool]:
    """The folder of a registered pool, fetched if it is not there yet, and its concrete version.

    Where the registry cannot be reached, a version that was fetched before still serves; an alias does not, because
    nobody can say what it points to.

    Args:
        wanted: the pool.
        uri: of the registry, such as `http://host:5000` or `sqlite:////abs/path/mlflow.db`.
        cache_dir: holds a folder a version.

    Raises:
        PoolRegistryError: no such name, alias or version; no answer; or what is registered is no whole pool.
        OutputError: `cache_dir` cannot be written.
    """
    store = hashlib.sha256(uri.encode()).hexdigest()[:8]  # a URI may hold a password
    try:
        client, found = _look_up(wanted, uri)
    except PoolRegistryError as error:
        folder = cache_dir / f"{wanted.name}-{wanted.version}-{store}"
        if isinstance(error.__cause__, _NoAnswerError) and wanted.version and _is_whole(folder, None):
            _log.warning("%s; %s was fetched before and is used.", error, wanted)
            return folder, wanted
        raise
    version = RegisteredPool(wanted.name, "", str(found.version))
    folder = cache_dir / f"{version.name}-{version.version}-{store}"
    if not _is_whole(folder, found.tags.get(POOL_TAG)):
        _download(client, found, version, uri, folder)
    return folder, version


class _NoAnswerError(Exception):
    """The registry gave no answer."""


def _look_up(wanted: RegisteredPool, uri: str) -> tuple[MlflowClient, ModelVersion]:
    subject = f"registered pool {wanted}"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise PoolRegistryError(subject, "must be in the registry", "no database", "Is the MLflow URI right?")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name, level in (("mlflow", "WARNING"), ("alembic", "WARNING"), ("urllib3.connectionpool", "ERROR")):
        logging.getLogger(name).setLevel(level)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if wanted.version:
            return client, client.get_model_version(wanted.name, wanted.version)
        return client, client.get_model_version_by_alias(wanted.name, wanted.alias)
    except Exception as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 500
        if status not in (400, 404):
            found, remedy = type(error).__name__, "Is it running, and is the MLflow URI right?"
            refusal = PoolRegistryError(subject, "the registry must answer", found, remedy)
            raise refusal from _NoAnswerError(str(error))
        raise PoolRegistryError(subject, "must be in the registry", _what_there_is(client, wanted)) from error


def _what_there_is(client: MlflowClient, wanted: RegisteredPool) -> str:
    """What the registry has instead, for the refusal."""
    try:
        aliases = client.get_registered_model(wanted.name).aliases
    except Exception:
        return f"no model named {wanted.name}"
    known = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items())) or "none"
    return f"no {f'alias {wanted.alias}' if wanted.alias else f'version {wanted.version}'}, but the aliases {known}"


def _is_whole(folder: Path, pool_sha256: str | None) -> bool:
    """Whether the folder holds a whole pool: that of the hash, where one is given."""
    try:
        manifest = verify_pool(folder)
    except PoolFolderError:
        return False
    return pool_sha256 is None or manifest.sha256() == pool_sha256


def _download(client: MlflowClient, found: ModelVersion, version: RegisteredPool, uri: str, folder: Path) -> None:
    """Fetch into a folder beside, verify, and put it in place at once."""
    from mlflow.artifacts import download_artifacts

    subject = f"registered pool {version}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as staging:
            try:
                location = client.get_model_version_download_uri(version.name, version.version)
                fetched = Path(download_artifacts(artifact_uri=location, dst_path=staging, tracking_uri=uri))
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                rule, remedy = "its files must be there to fetch", "Can this machine reach the registry's artefacts?"
                raise PoolRegistryError(subject, rule, type(error).__name__, remedy) from error
            whole = Path(staging) / "whole"
            _take_pool(fetched, whole, found.tags.get(POOL_TAG), subject)
            shutil.rmtree(folder, ignore_errors=True)  # of a registry that was begun anew
            whole.rename(folder)
    except OSError as error:
        raise OutputError(f"pool cache {folder.parent.name}", "must be writable", error.strerror or "") from error


def _take_pool(fetched: Path, whole: Path, pool_sha256: str | None, subject: str) -> None:
    """Exactly the files of the pool, verified."""
    rule, remedy = "must be a whole pool", "Register the pool again."
    try:
        manifest = verify_pool(fetched)
    except PoolFolderError as error:
        raise PoolRegistryError(subject, rule, f"{error}".rstrip("."), remedy) from error
    if pool_sha256 is not None and manifest.sha256() != pool_sha256:
        raise PoolRegistryError(subject, rule, "another manifest than was registered", remedy)
    whole.mkdir()
    for name in (*(member.weights_name for member in manifest.members), MANIFEST_NAME):
        shutil.move(fetched / name, whole / name)
