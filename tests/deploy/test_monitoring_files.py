"""Every query of the dashboard and of the alerts is PromQL, and asks for what the service says of itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serve.http.schemas import METRICS_EXAMPLE
from serve.monitoring.requests import RequestMetrics
from serve.monitoring.work import STAGES, WorkMetrics

DEPLOY = Path(__file__).parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus says itself of whom it scrapes."""


def exported() -> dict[str, set[str]]:
    """Names of all series that the service exports, with their labels, once everything has happened once."""
    requests, work = RequestMetrics(), WorkMetrics()
    requests.note_request("GET", "/healthz", 200, 0.1)
    requests.note_upload("new")
    with work.stage(STAGES[0]):
        work.note_answer("m0", failed=True)
    work._chosen.labels("m0").inc()
    work._ended.labels("done").inc()
    work.note_shard_failure(0)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(requests.text({"done": 1}, 0, 1, work.text())):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def queries() -> list[tuple[str, str]]:
    """Title and PromQL of every panel's target and every alert."""
    panels = json.loads((MONITORING / "grafana" / "perfusion-pool.json").read_text())["panels"]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [
        *((panel["title"], target["expr"]) for panel in panels for target in panel["targets"]),
        *((rule["alert"], rule["expr"]) for group in rules for rule in group["rules"]),
    ]


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Metric and labels of every selector in a query."""
    promql_parser.parse(query)
    found = re.findall(r"\b([a-z][a-z0-9_]*)\{([^}]*)\}", query)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))) for name, labels in found]


@pytest.mark.parametrize(("title", "query"), queries(), ids=lambda text: text[:30])
def test_a_query_asks_for_a_metric_that_the_service_exports(title: str, query: str) -> None:
    known = {**exported(), **OF_PROMETHEUS}
    asked = selectors(query)
    assert asked, title
    for name, labels in asked:
        assert name in known, f"{title}: {name}"
        assert labels - {"job"} <= known[name], f"{title}: {name}"
    grouped = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
    assert grouped <= {label for name, _ in asked for label in known[name]}, title


def test_wrong_queries_are_noticed() -> None:
    with pytest.raises(ValueError, match="unexpected|expected|invalid"):
        selectors("sum by (state) (pool_studies{")
    assert selectors('max(pool_no_such{job="x", state=~"a"})') == [("pool_no_such", {"job", "state"})]
    assert "pool_no_such" not in exported()


def test_everything_that_the_service_says_of_its_work_is_looked_at() -> None:
    asked = {name for _, query in queries() for name, _ in selectors(query)}
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in exported()}
    looked_at = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked}
    beside = {"pool_uploads_on_their_way", "pool_studies_in_work"}  # moments; the queue says the same for longer
    assert {name for name in families if name.startswith("pool_")} - looked_at == beside
    example = {family.name.removesuffix("_total") for family in text_string_to_metric_families(METRICS_EXAMPLE)}
    assert example <= families


def test_the_scrape_finds_the_service_and_shows_its_token(tmp_path: Path) -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    jobs: dict[str, Any] = {job["job_name"]: job for job in config["scrape_configs"]}
    assert all(f'job="{name}"' in query for name in ("perfusion-service",) for _, query in queries())
    service = jobs["perfusion-service"]
    assert service["metrics_path"] == "/metrics"
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    for job in jobs.values():
        for target in job["static_configs"][0]["targets"]:
            assert target.split(":")[0] in compose
    secret = Path(service["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in compose["prometheus"]["secrets"]
    mounted = {volume.split(":")[1] for volume in compose["prometheus"]["volumes"]}
    assert set(config["rule_files"]) <= mounted


def test_grafanas_source_is_the_one_that_panels_name() -> None:
    (source,) = yaml.safe_load((MONITORING / "grafana" / "datasource.yml").read_text())["datasources"]
    board = json.loads((MONITORING / "grafana" / "perfusion-pool.json").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) == 13
    (provider,) = yaml.safe_load((MONITORING / "grafana" / "provider.yml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    (target,) = (v.split(":")[1] for v in compose["grafana"]["volumes"] if "perfusion-pool.json" in v)
    assert Path(target).parent == Path(provider["options"]["path"])
