"""A service that is given the name of a pool: which version it takes, what it keeps, and what it refuses in words."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient

from pool.errors import OutputError, SettingsError
from pool.manifest import PoolManifest, verify_pool
from serve.errors import PoolRegistryError
from serve.http.ingress import create_app
from serve.registry import RegisteredPool
from serve.settings import ServiceSettings
from tests.samples import tiny_pool
from tests.serve.http.services import FakeRunner, front_of


@pytest.fixture(scope="module")
def registry(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`perfusion` with the versions 1 (two members) and 2 (three), of which 2 is champion, and a text, not a pool."""
    folder = tmp_path_factory.mktemp("registered")
    client = MlflowClient(mlflow_uri)
    run = client.create_run(client.create_experiment("served", artifact_location=(folder / "runs").as_uri()))
    manifests = []
    client.create_registered_model("perfusion")
    for n_members in (2, 3):
        source = folder / str(n_members)
        manifests.append(tiny_pool(source, n_members))
        tags = {"pool_sha256": manifests[-1].sha256()}
        version = client.create_model_version("perfusion", source.as_uri(), run.info.run_id, tags)
    client.set_registered_model_alias("perfusion", "champion", version.version)
    (folder / "text").mkdir()
    (folder / "text" / "notes.txt").write_text("no pool")
    client.create_registered_model("text")
    client.create_model_version("text", (folder / "text").as_uri(), run.info.run_id)
    return SimpleNamespace(uri=mlflow_uri, folder=folder, manifests=manifests, client=client, run=run)


def settings_of(pool: str, uri: str | None, cache: Path) -> ServiceSettings:
    return ServiceSettings(pool_dir=pool, mlflow_uri=uri, pool_cache_dir=cache)


@pytest.mark.parametrize(
    ("pool", "version"), [("models:/perfusion@champion", 2), ("models:/perfusion/2", 2), ("models:/perfusion/1", 1)]
)
def test_a_name_becomes_a_verified_folder_and_a_version(
    pool: str, version: int, registry: SimpleNamespace, tmp_path: Path
) -> None:
    local = settings_of(pool, registry.uri, tmp_path / "pools").with_local_pool()
    assert local.pool_origin == f"models:/perfusion/{version}"
    assert verify_pool(local.pool_dir) == registry.manifests[version - 1]
    assert [path.name for path in (tmp_path / "pools").iterdir()] == [local.pool_dir.name]
    assert local.with_local_pool() is local


def test_the_service_says_which_version_it_uses(registry: SimpleNamespace, tmp_path: Path) -> None:
    local = settings_of("models:/perfusion@champion", registry.uri, tmp_path).with_local_pool()
    for settings, origin in ((local, "models:/perfusion/2"), (ServiceSettings(pool_dir=local.pool_dir), "")):
        own = settings.model_copy(update={"studies_dir": tmp_path / "studies"})
        front = front_of(own, PoolManifest.load(own.pool_dir), FakeRunner())
        answer = TestClient(create_app(front), "http://127.0.0.1").get("/v1/pool").json()
        assert (answer["origin"], len(answer["members"])) == (origin, 3)


def test_a_version_is_fetched_once_and_again_when_it_is_damaged(
    registry: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("models:/perfusion/1", registry.uri, tmp_path)
    folder = settings.with_local_pool().pool_dir
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.artifacts.download_artifacts", lambda **_: pytest.fail("it is here already"))
        assert settings.with_local_pool().pool_dir == folder
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert verify_pool(settings.with_local_pool().pool_dir) == registry.manifests[0]
    shutil.rmtree(folder)
    tiny_pool(folder, 3)  # whole, but another pool: the registry was begun anew
    assert verify_pool(settings.with_local_pool().pool_dir) == registry.manifests[0]


def test_a_fetched_version_serves_while_the_registry_is_down_but_an_alias_does_not(
    registry: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings_of("models:/perfusion@champion", registry.uri, tmp_path).with_local_pool().pool_dir

    def down(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(MlflowClient, "get_model_version", down)
    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", down)
    again = settings_of("models:/perfusion/2", registry.uri, tmp_path).with_local_pool()
    assert (again.pool_dir, again.pool_origin) == (folder, "models:/perfusion/2")
    for pool in ("models:/perfusion@champion", "models:/perfusion/1"):
        with pytest.raises(PoolRegistryError, match=r"the registry must answer; found ConnectionError\. Is it running"):
            settings_of(pool, registry.uri, tmp_path).with_local_pool()


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("models:/other@champion", r"models:/other@champion: must be in the registry; found no model named other\."),
        ("models:/perfusion@best", r"found no alias best, but the aliases champion \(version 2\)\."),
        ("models:/perfusion/7", r"found no version 7, but the aliases champion \(version 2\)\."),
        ("models:/text/1", r"models:/text/1: must be a whole pool; found pool folder \w+: needs a manifest\.json;"),
    ],
)
def test_what_the_registry_does_not_have_is_refused_in_words(
    pool: str, words: str, registry: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(PoolRegistryError, match=words):
        settings_of(pool, registry.uri, tmp_path / "pools").with_local_pool()
    assert not list((tmp_path / "pools").glob("*"))


def test_another_pool_than_was_registered_is_refused(registry: SimpleNamespace, tmp_path: Path) -> None:
    tiny_pool(tmp_path / "swapped", 3)
    tags = {"pool_sha256": registry.manifests[0].sha256()}
    registry.client.create_registered_model("swapped")
    registry.client.create_model_version("swapped", (tmp_path / "swapped").as_uri(), registry.run.info.run_id, tags)
    with pytest.raises(PoolRegistryError, match="must be a whole pool; found another manifest than was registered"):
        settings_of("models:/swapped/1", registry.uri, tmp_path / "pools").with_local_pool()


def test_artefacts_that_cannot_be_fetched_and_a_full_disk_are_refused_in_words(
    registry: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("models:/perfusion/1", registry.uri, tmp_path / "pools")
    for error, refusal, words in (
        (ConnectionError(), PoolRegistryError, "its files must be there to fetch; found ConnectionError"),
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "pool cache pools: must be writable; found No"),
    ):

        def fail(error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr("mlflow.artifacts.download_artifacts", fail)
        with pytest.raises(refusal, match=words):
            settings.with_local_pool()
    assert not list((tmp_path / "pools").iterdir())


@pytest.mark.parametrize(
    ("pool", "uri", "words"),
    [
        (
            "models:/perfusion",
            "http://127.0.0.1:9",
            "must be models:/NAME@ALIAS or models:/NAME/VERSION; found 'models",
        ),
        ("models:/perfusion/Production", "http://127.0.0.1:9", "must be models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/a/../b/1", "http://127.0.0.1:9", "must be models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/perfusion/1", None, "service setting mlflow_uri: must name the registry of a registered pool"),
    ],
)
def test_a_name_that_cannot_be_looked_up_is_refused(pool: str, uri: str | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        settings_of(pool, uri, tmp_path).with_local_pool()


def test_no_registry_at_that_address(tmp_path: Path) -> None:
    with pytest.raises(
        PoolRegistryError, match=r"models:/a@b: the registry must answer; found MlflowException\. Is it"
    ):
        settings_of("models:/a@b", "http://127.0.0.1:9", tmp_path).with_local_pool()
    with pytest.raises(
        PoolRegistryError, match=r"must be in the registry; found no database\. Is the MLflow URI right"
    ):
        settings_of("models:/a@b", f"sqlite:///{tmp_path}/none.db", tmp_path).with_local_pool()
    assert not (tmp_path / "none.db").exists()


def test_the_two_forms_of_a_name() -> None:
    assert RegisteredPool.parse("models:/a.b-c@d_e") == RegisteredPool("a.b-c", "d_e", "")
    assert str(RegisteredPool.parse("models:/a/12")) == "models:/a/12"
