"""Pools become versions of a registered model: by a training, or from a folder made earlier; never twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from typer.testing import CliRunner

from pool.errors import SettingsError
from pool.manifest import save_manifest, verify_pool
from tests.samples import tiny_pool
from tests.tune.tracking.conftest import Training
from tune.__main__ import app
from tune.tracking.registry import RegistryName

NOWHERE = "http://127.0.0.1:9"


def test_a_training_registers_its_whole_pool_and_the_folder_is_the_same_version(
    training: Training, mlflow_uri: str, tmp_path: Path
) -> None:
    # a pool that no other test logs to the shared store: the folder's run is found by the pool's hash
    training.manifest = replace(training.manifest, name="registered")
    save_manifest(training.pool_dir, training.manifest)
    training.run(training.tracking(mlflow_uri, tmp_path / "log", "registering"), "cardiac")
    client = MlflowClient(mlflow_uri)
    version = client.get_model_version_by_alias("cardiac", "champion")
    assert version.tags["pool_sha256"] == training.manifest.sha256()
    location = client.get_model_version_download_uri("cardiac", version.version)
    fetched = download_artifacts(artifact_uri=location, dst_path=str(tmp_path / "fetched"), tracking_uri=mlflow_uri)
    assert verify_pool(Path(fetched)) == training.manifest
    run = client.get_run(version.run_id)
    assert run.info.run_name == "pool"
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (str(model.status), model.model_type, model.source_run_id) == ("READY", "perfusion-pool", run.info.run_id)
    assert {metric.key: metric.value for metric in model.metrics} == pytest.approx(
        {"best_validation_dice": 0.6, "mean_validation_dice": 0.55}
    )
    assert model.tags["mlflow.modelVersions"] == '[{"name": "cardiac", "version": 1}]'

    words = ["register", "--pool", str(training.pool_dir), "--mlflow", mlflow_uri, "--name", "cardiac"]
    said = CliRunner().invoke(app, [*words, "--alias", "candidate"])
    assert said.output == "models:/cardiac/1, also models:/cardiac@candidate\n"
    # another name: another version of the same model, of the same run
    said = CliRunner().invoke(app, [*words[:-1], "heart"])
    assert said.output == "models:/heart/1, also models:/heart@champion\n"
    assert client.get_model_version("heart", "1").run_id == version.run_id
    assert len(client.search_logged_models([run.info.experiment_id])) == 1


def test_a_folder_that_the_store_does_not_know_gets_a_run_and_the_alias_moves_on(
    mlflow_uri: str, tmp_path: Path
) -> None:
    client = MlflowClient(mlflow_uri)
    for n_members in (4, 5):
        tiny_pool(tmp_path / str(n_members), n_members)
        (tmp_path / str(n_members) / "notes.txt").write_text("not a part of the pool")
        for _ in range(2):
            words = ["register", "--pool", str(tmp_path / str(n_members)), "--mlflow", mlflow_uri, "--name", "folders"]
            said = CliRunner().invoke(app, words)
            assert said.output == f"models:/folders/{n_members - 3}, also models:/folders@champion\n"
    assert client.get_registered_model("folders").aliases == {"champion": 2}
    assert len(client.search_model_versions("name = 'folders'")) == 2
    run = client.get_run(client.get_model_version("folders", "2").run_id)
    assert (run.data.tags["kind"], run.data.tags["origin"], run.info.status) == ("pool", "folder", "FINISHED")
    (model,) = client.search_logged_models(
        [run.info.experiment_id], f"tags.pool_sha256 = '{run.data.tags['pool_sha256']}'"
    )
    names = [artefact.path for artefact in client.list_logged_model_artifacts(model.model_id)]
    assert names == ["manifest.json", *(f"s{i}-e01.safetensors" for i in range(5))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "registered model a: must be taken by MLflow; found API request to http://127.0.0.1:9"),
        ({"--pool": "none"}, "pool folder none: needs a manifest.json; found none."),
        (
            {"--name": "a/b"},
            "registered model: name must be letters, digits, dots and dashes, at most 64; found 'a/b'.",
        ),
        ({"--alias": "v3"}, "alias must be letters, digits and dashes, but neither `latest` nor `v1`; found 'v3'."),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_sentence(
    changes: dict[str, str], words: str, tmp_path: Path
) -> None:
    tiny_pool(tmp_path, 1)
    options = {"--pool": str(tmp_path), "--mlflow": NOWHERE, "--name": "a", **changes}
    said = CliRunner().invoke(app, ["register", *(word for option in options.items() for word in option)])
    assert said.exit_code == 2
    assert words in said.output


def test_names_and_aliases() -> None:
    assert RegistryName.parse("cardiac") == RegistryName("cardiac", "champion")
    assert RegistryName.parse("a.b-c@next_one") == RegistryName("a.b-c", "next_one")
    for text in ("", "@a", "a@", "a@latest", "a@b@c", "a b", "a@V12", "x" * 65):
        with pytest.raises(SettingsError, match="registered model: (name|alias) must be"):
            RegistryName.parse(text)


def test_registering_needs_a_store_and_a_name(tmp_path: Path) -> None:
    words = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "pool"), "--register", "cardiac@v1"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert "alias must be letters" in said.output
    said = CliRunner().invoke(app, [*words[:-1], "cardiac"])
    assert said.exit_code == 2
    assert "training: can register its pool only with MLflow; found none. Give a tracking URI." in said.output
