"""What Prometheus is told: numbers about work, nothing about a patient, no id as a label."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.serve.http.services import Service, npz


def samples(text: str) -> dict[tuple[str, str], float]:
    """Value by name and by the label that tells its samples apart."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = ",".join(value for key, value in sorted(sample.labels.items()) if key != "le")
            found[sample.name, label] = sample.value
    return found


def test_the_front_counts_requests_uploads_and_studies(tmp_path: Path) -> None:
    service = Service(tmp_path, most_waiting=7)
    with service.http:
        sent = service.http.post("/v1/studies", files={"files": ("Doe^John.npz", npz())})
        service.http.post("/v1/studies", files={"files": ("a.npz", npz())})
        service.http.post("/v1/studies", files={"files": ("a.npz", b"x")})
        service.http.get(sent.json()["links"]["self"])
        service.http.get("/secret/path")
        answer = service.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    assert found["pool_uploads_total", "new"] == found["pool_uploads_total", "known"] == 1
    assert found["pool_uploads_total", "UnreadableFileError"] == 1
    assert found["pool_studies", "received"] == 1
    assert found["pool_studies", "done"] == 0
    assert found["pool_queue_limit", ""] == 7
    assert found["pool_selector_up", ""] == 1
    assert found["of_the_selector", ""] == 1
    assert found["pool_request_seconds_count", "GET,/v1/studies/{study_id},200"] == 1
    assert found["pool_request_seconds_count", "POST,/v1/studies,202"] == 2
    assert found["pool_request_seconds_count", "GET,none,404"] == 1
    for secret in (sent.json()["id"], "Doe", "secret"):
        assert secret not in answer.text


def test_without_the_selector_the_front_still_answers(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.runner.deaf = True
    found = samples(service.http.get("/metrics").text)
    assert found["pool_selector_up", ""] == 0


def test_the_runner_measures_stages_choices_and_failures(service: Service) -> None:
    service.http.post("/v1/studies", files={"files": ("a.npz", npz())})
    metrics = service.work()
    found = samples(metrics.text())
    for stage in ("queue", "read", "sweep", "write", "total"):
        assert found["pool_stage_seconds_count", stage] == 1
    assert found["pool_chosen_total", "m0"] == 1
    assert found["pool_u_pp_count", ""] == 1
    assert found["pool_studies_ended_total", "done"] == 1
    metrics.note_answer("m1", failed=True)
    metrics.note_shard_failure(3)
    found = samples(metrics.text())
    assert found["pool_absent_sweeps_total", "m1"] == found["pool_shard_failures_total", "3"] == 1
