"""Watching a study, and answers at once."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serve.http import study_routes
from serve.http.event_stream import event_stream
from tests.serve.http.services import Service, npz


def send(service: Service) -> str:
    return str(service.http.post("/v1/studies", files={"files": ("a.npz", npz())}).json()["id"])


def events_of(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block.startswith("id: ")]
    return [(int(i[4:]), kind[7:], json.loads(data[6:])) for i, kind, data in blocks]


def test_a_study_is_watched_member_by_member_until_it_ends(service: Service) -> None:
    study_id = send(service)
    service.work()
    answer = service.http.get(f"/v1/studies/{study_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events_of(answer.text)
    assert [(number, kind) for number, kind, _ in found] == [
        (1, "received"),
        (2, "started"),
        (3, "answer"),
        (4, "answer"),
        (5, "done"),
    ]
    answers = [fields for _, kind, fields in found if kind == "answer"]
    assert [(fields["slice"], fields["member"]) for fields in answers] == [("slice-1", "m0"), ("slice-1", "m1")]
    assert all(0 < fields["u_pp"] < 1 for fields in answers)
    assert found[-1][2]["results"] == list(service.front.store.get(study_id).results)


def test_who_was_cut_off_goes_on_where_it_was(service: Service) -> None:
    study_id = send(service)
    service.work()
    path = f"/v1/studies/{study_id}/events"
    assert [kind for _, kind, _ in events_of(service.http.get(path, headers={"Last-Event-ID": "3"}).text)] == [
        "answer",
        "done",
    ]
    assert events_of(service.http.get(path, headers={"Last-Event-ID": "99"}).text) == [(100, "done", {})]
    assert service.http.get(path, headers={"Last-Event-ID": "-1"}).status_code == 400


def test_events_come_while_the_study_runs(service: Service) -> None:
    study_id = send(service)
    store = service.front.store

    async def watch() -> list[str]:
        seen = []
        async for text in event_stream(store, study_id, 0):
            seen.append(text.split("\n")[1])
            if "received" in text:
                store.note_answer(study_id, "base", "m0", {"u_pp": 0.1})
            elif "answer" in text:
                store.cancel(study_id)
        return seen

    assert asyncio.run(watch()) == ["", "event: received", "event: answer", "event: cancelled"]


def test_a_study_that_is_removed_ends_its_stream(service: Service) -> None:
    study_id = send(service)

    async def watch() -> list[str]:
        seen = []
        async for text in event_stream(service.front.store, study_id, 0):
            seen.append(text)
            service.front.store.remove(study_id) if "received" in text else None
        return seen

    assert asyncio.run(watch())[-1] == "event: removed\ndata: {}\n\n"


def test_what_cannot_be_watched_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.http.get(f"/v1/studies/{'0' * 32}/events").status_code == 404
    monkeypatch.setattr(study_routes, "MOST_WATCHERS", 0)
    refused = service.http.get(f"/v1/studies/{send(service)}/events")
    assert (refused.status_code, refused.json()["error"]) == (503, "TooManyWatchersError")


def test_a_small_study_is_answered_at_once(service: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(service.http.post, "/v1/analyse", files={"files": ("a.npz", npz())})
        while not service.front.store.unfinished():
            time.sleep(0.01)
        service.work()
        answer = answered.result(60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    (record,) = service.front.store.records()
    assert answer.content == service.front.store.result_file(record.id, "result.json").read_bytes()
    assert answer.headers["Location"] == f"/v1/studies/{record.id}"


def test_what_takes_longer_is_a_study_like_any_other(tmp_path: Path) -> None:
    service = Service(tmp_path, answer_deadline_s=0.01)
    answer = service.http.post("/v1/analyse", files={"files": ("a.npz", npz())})
    assert (answer.status_code, answer.json()["state"]) == (202, "received")
    service.front.store.fail(answer.json()["id"], "slice base: needs answers.")
    assert service.http.get(answer.headers["Location"]).json()["state"] == "failed"


def test_a_study_that_fails_is_refused_with_its_reason(service: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(service.http.post, "/v1/analyse", files={"files": ("a.npz", npz())})
        while not (unfinished := service.front.store.unfinished()):
            time.sleep(0.01)
        service.front.store.fail(unfinished[0].id, "slice base: needs answers.")
        answer = answered.result(60)
    assert (answer.status_code, answer.json()["found"]) == (422, "slice base: needs answers")
