"""Compose and container files: valid, nothing as root, everything pinned, everything on loopback."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from pool.member import PRETRAINED
from serve.http.tokens import read_tokens
from serve.settings import ServiceSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
CONTAINERS = sorted((DEPLOY / "containers").glob("*.Containerfile"))


@pytest.fixture(scope="module")
def composed() -> Any:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def test_compose_is_valid_and_has_all_its_parts(composed: Any) -> None:
    parsed = PyCompose.from_json(json.dumps(composed))
    assert set(parsed.service_names()) == {"head", "worker", "service", "mlflow", "prometheus", "grafana"}
    wrong = json.loads(json.dumps(composed))
    wrong["services"]["head"]["healthcheck"]["intervall"] = "3s"
    with pytest.raises(ValueError, match="intervall"):
        PyCompose.from_json(json.dumps(wrong))


def test_what_is_named_is_there(composed: Any) -> None:
    services = composed["services"]
    for name, service in services.items():
        for other in service.get("depends_on", []):
            assert other in services, name
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in composed["secrets"], name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in composed["volumes"] or (COMPOSE.parent / source).exists(), f"{name}: {volume}"
        if build := service.get("build"):
            assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()


def test_every_port_is_loopbacks_and_every_image_has_a_version(composed: Any) -> None:
    for name, service in composed["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-cpu)?", service["image"]), name
    head = composed["services"]["head"]
    assert "--dashboard-host=127.0.0.1" in head["command"]
    assert head["environment"]["RAY_AUTH_MODE"] == "token"


def test_the_service_has_settings_that_it_takes_and_shards_that_fit(composed: Any) -> None:
    services = composed["services"]
    given = {
        name.removeprefix("POOL_SERVE_").lower(): value
        for name, value in services["service"]["environment"].items()
        if name.startswith("POOL_SERVE_")
    }
    settings = ServiceSettings(pool_dir=PRETRAINED, **given)
    assert (settings.host, settings.n_shards, str(settings.studies_dir)) == ("0.0.0.0", 2, "/shared/studies")
    words = " ".join(word for service in services.values() for word in service.get("command", []))
    n_cpus = sum(int(n) for n in re.findall(r"--num-cpus=(\d+)", words))
    settings.check_cluster({"CPU": n_cpus})
    secrets = {s["target"] for s in services["service"]["secrets"] if isinstance(s, dict)}
    assert str(settings.token_file) in secrets
    assert services["head"]["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]


def test_secrets_are_made_once_for_their_readers_alone(tmp_path: Path, composed: Any) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_bytes((COMPOSE.parent / "make-secrets.sh").read_bytes())
    for _ in range(2):
        done = subprocess.run(["bash", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
        assert set(made) == {Path(secret["file"]).name for secret in composed["secrets"].values()}
        before = locals().get("before", made)
        assert made == before
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "secrets").iterdir())
    tokens = read_tokens(tmp_path / "secrets" / "service_tokens")
    assert [token.name for token in tokens] == ["prometheus", "core-lab"]
    scrape = made["scrape_token"].decode()
    assert f"prometheus {scrape}" in made["service_tokens"].decode().splitlines()


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.stem)
def test_container_files_are_pinned_without_root_and_say_how_they_are(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line and not line.startswith((" ", "#"))]
    assert {word[1] for word in words if word[0] == "FROM"} == {"python:3.11.14-slim-bookworm"}
    assert [word[1] for word in words if word[0] == "USER"] == ["10001"]
    after_user = [word[0] for word in words[[word[0] for word in words].index("USER") :]]
    assert "RUN" not in after_user
    assert {"HEALTHCHECK", "CMD"} <= set(after_user)
    text = path.read_text(encoding="utf-8")
    installs = [line for line in text.replace("\\\n", " ").splitlines() if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)
    for word in words:
        if word[0] == "COPY":
            assert all((DEPLOY.parent / source).exists() for source in word[1:-1]), word


def test_there_is_one_for_cpus_and_one_for_gpus() -> None:
    assert [path.stem for path in CONTAINERS] == ["cpu", "gpu"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in CONTAINERS[1].read_text()
    assert "NVIDIA" not in CONTAINERS[0].read_text()
