"""Manifests and configurations: as the settings make them, as schemas want them, fit to hold what they start."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from typer.testing import CliRunner

from deploy.generate.__main__ import DEPLOY
from deploy.generate.files import all_files
from deploy.generate.kuberay import RAY_VERSION, USER_ID, ray_job, ray_service, storage
from deploy.generate.sizes import FIFTY, FOUR_IN_HALVES, N_MEMBERS, ClusterSize
from pool import __version__
from pool.errors import SettingsError
from pool.manifest import PoolManifest
from pool.member import PRETRAINED
from serve.__main__ import app
from serve.config_file import serve_config
from serve.settings import ServiceSettings
from tests.deploy.kuberay_schema import KUBERNETES, complaints

SIZES = (FIFTY, FOUR_IN_HALVES)


def on_disk(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))


def test_the_files_are_as_they_would_be_made() -> None:
    for path, text in all_files().items():
        assert (DEPLOY / path).read_text(encoding="utf-8") == text, f"{path}: run `python -m deploy.generate`"
    made = {path.name for path in all_files() if path.parts[0] == "kubernetes"}
    assert {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} == made


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_ray_service_holds_the_very_settings(size: ClusterSize) -> None:
    manifest = on_disk(f"rayservice-{size.name}.yaml")
    held = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    assert held == serve_config(size.settings())
    schema = ServeDeploySchema(**held)  # Ray's own
    (application,) = schema.applications
    assert application.import_path == "serve.app:build"
    assert ServiceSettings(**application.args) == size.settings()
    assert (schema.http_options.host, schema.http_options.port) == ("0.0.0.0", 8000)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_cluster_holds_the_service_and_every_member_has_a_shard(size: ClusterSize) -> None:
    settings, manifest = size.settings(), PoolManifest.load(PRETRAINED)
    settings.check_pool(manifest)
    (workers,) = on_disk(f"rayservice-{size.name}.yaml")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    n_nodes = workers["replicas"]
    (container,) = workers["template"]["spec"]["containers"]
    n_gpus = n_nodes * container["resources"]["limits"]["nvidia.com/gpu"]
    n_cpus = n_nodes * int(workers["rayStartParams"]["num-cpus"])
    assert n_gpus == size.n_gpus
    settings.check_cluster({"CPU": n_cpus, "GPU": n_gpus})
    one_less = settings.model_copy(update={"n_shards": settings.n_shards + 1})
    with pytest.raises(SettingsError, match="must fit into the cluster"):
        one_less.check_cluster({"CPU": n_cpus, "GPU": n_gpus})


def test_sizes_are_what_they_say() -> None:
    assert (FIFTY.n_shards, FIFTY.name) == (50, "50-gpus")
    assert (FOUR_IN_HALVES.n_shards, FOUR_IN_HALVES.name) == (8, "4-gpus-in-halves")
    assert (ClusterSize(4, 0.4).n_shards, ClusterSize(4, 0.25).n_shards, ClusterSize(1, 0.1).n_shards) == (8, 16, 10)
    assert ClusterSize(80).n_shards == N_MEMBERS == PoolManifest.load(PRETRAINED).n_members
    for wrong, words in (((0,), "GPUs must be from 1"), ((4, 2.0), "one GPU or a part")):
        with pytest.raises(SettingsError, match=words):
            ClusterSize(*wrong)


@pytest.mark.parametrize("size", [*SIZES, ClusterSize(2, 0.25)], ids=lambda size: size.name)
@pytest.mark.parametrize("made", [ray_service, ray_job])
def test_manifests_have_the_fields_of_the_custom_resources(size: ClusterSize, made: Any) -> None:
    assert complaints(made(size)) == []


def test_the_schema_refuses_what_is_wrong() -> None:
    def changed(*path: Any, value: Any) -> dict[str, Any]:
        manifest = copy.deepcopy(ray_service(FIFTY))
        at: Any = manifest
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        return manifest

    cluster = ("spec", "rayClusterConfig")
    container = (*cluster, "headGroupSpec", "template", "spec", "containers", 0)
    for manifest, where in (
        (changed("spec", "serveConfig", value="x"), "'serveConfig' was unexpected"),
        (changed(*cluster, "authOptions", "mode", value="off"), "'off' is not one of"),
        (changed(*cluster, "workerGroupSpecs", 0, "replicas", value="50"), "'50' is not of type 'integer'"),
        (changed(*cluster, "headGroupSpec", "rayStartParams", "num-cpus", value=0), "0 is not of type 'string'"),
        (changed(*container, "imagePulPolicy", value="Always"), "'imagePulPolicy' was unexpected"),
        (changed(*container, "env", 0, "value", value=1), "1 is not of type 'string', 'null'"),
    ):
        assert any(where in complaint for complaint in complaints(manifest)), where


def test_what_both_need_before_is_valid_kubernetes() -> None:
    for document in storage():
        assert kubernetes_validate.validate(document, KUBERNETES, strict=True)
    wrong = copy.deepcopy(storage()[1])
    wrong["spec"]["ingres"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="ingres"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_nothing_runs_as_root_and_rays_ports_want_a_token_and_a_neighbour(size: ClusterSize) -> None:
    policy = storage()[1]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    for made in (ray_service(size), ray_job(size)):
        cluster = made["spec"].get("rayClusterConfig") or made["spec"]["rayClusterSpec"]
        assert cluster["authOptions"] == {"mode": "token"}
        assert cluster["rayVersion"] == RAY_VERSION
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            template = group["template"]
            assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
            assert template["spec"]["securityContext"]["runAsUser"] == USER_ID
            for container in template["spec"]["containers"]:
                assert container["securityContext"]["runAsNonRoot"] is True
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["image"].startswith(f"perfusion-pool:{__version__}-")
    who = [rule["from"] for rule in policy["ingress"] if 8265 in [port["port"] for port in rule.get("ports", [])]]
    assert len(who) == 1
    assert "kuberay-operator" in json.dumps(who)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_jobs_entrypoint_is_a_command_there_is(size: ClusterSize) -> None:
    words = ray_job(size)["spec"]["entrypoint"].split()
    assert words[:4] == ["python", "-m", "serve", "batch"]
    usage = CliRunner().invoke(app, ["batch", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in usage
    assert words[words.index("--gpus") + 1] == f"{size.gpus_per_shard:g}"


def test_ray_is_the_version_that_is_pinned() -> None:
    assert f"ray=={RAY_VERSION}" in (DEPLOY.parent / "constraints.txt").read_text().splitlines()


def test_another_size_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    import typer

    from deploy.generate.__main__ import generate

    command = typer.Typer()
    command.command()(generate)
    words = ["--gpus", "8", "--gpus-per-shard", "0.25", "--out", str(tmp_path / "mine")]
    assert CliRunner().invoke(command, [*words, "--check"]).exit_code == 1
    assert CliRunner().invoke(command, words).exit_code == 0
    assert CliRunner().invoke(command, [*words, "--check"]).exit_code == 0
    manifest = yaml.safe_load((tmp_path / "mine" / "rayservice-8-gpus-in-quarters.yaml").read_text())
    assert complaints(manifest) == []
    assert yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"][0]["args"]["n_shards"] == 32
