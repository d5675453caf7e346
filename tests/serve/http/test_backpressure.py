"""Bounded queues: what there is no room for is told to come again, and what was sent twice is one study."""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.errors import QueueFullError
from serve.http.admission import Admission
from serve.http.bodies import BodyLimits
from tests.serve.http.services import Service, npz


def send(service: Service, content: bytes) -> Any:
    return service.http.post("/v1/studies", files={"files": ("a.npz", content)})


def different(n: int) -> Iterator[bytes]:
    for i in range(n):
        yield npz(remark=np.array([i]))


def test_a_full_queue_answers_429_until_there_is_room(tmp_path: Path) -> None:
    service = Service(tmp_path, most_waiting=2)
    first, second, third = different(3)
    with service.http:
        assert [send(service, content).status_code for content in (first, second)] == [202, 202]
        refused = send(service, third)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
        assert refused.json()["message"] == (
            "service: takes at most 2 studies at a time; found 2 unfinished and 0 on their way. Send it again later."
        )
        assert len(service.front.store.records()) == 2
        service.work()
        assert send(service, third).status_code == 202


def test_room_is_counted_one_by_one_however_many_come_at_once() -> None:
    async def come(admission: Admission, let_go: asyncio.Event) -> str:
        try:
            async with admission.room():
                await let_go.wait()
                return "in"
        except QueueFullError:
            return "refused"

    async def all_at_once() -> list[str]:
        admission, let_go = Admission(8, lambda: 3), asyncio.Event()
        tasks = [asyncio.create_task(come(admission, let_go)) for _ in range(64)]
        while sum(task.done() for task in tasks) < 59:
            await asyncio.sleep(0.001)
        let_go.set()
        found = await asyncio.gather(*tasks)
        assert admission.n_uploads == 0
        return found

    assert sorted(asyncio.run(all_at_once())) == ["in"] * 5 + ["refused"] * 59


def test_the_same_study_sent_twice_is_one_study(service: Service) -> None:
    first = send(service, npz())
    again = send(service, npz())
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert service.runner.heard == ["wake"]
    service.work()
    done = send(service, npz())
    assert (done.status_code, done.json()["state"], done.json()["id"]) == (200, "done", first.json()["id"])
    assert len(service.front.store.records()) == 1


def test_the_same_study_sent_many_times_at_once_is_one_study(service: Service) -> None:
    async def at_once() -> set[str]:
        accepted = await asyncio.gather(*(service.front.accept([("a.npz", io.BytesIO(npz()))]) for _ in range(6)))
        assert sum(one.is_new for one in accepted) == 1
        return {one.record.id for one in accepted}

    assert len(asyncio.run(at_once())) == 1
    assert len(service.front.store.records()) == 1


def test_a_full_disk_is_not_the_senders_fault(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr("serve.store.uploads.Upload.add", full)
    answer = send(service, npz())
    assert (answer.status_code, answer.json()["error"]) == (503, "StoreUnavailableError")
    assert answer.headers["Retry-After"] == "5"
    assert "secret" not in answer.text
    assert service.kept() == []


class Sender:
    """An ASGI client that sends a body in pieces, and one piece never."""

    def __init__(self, pieces: int, hangs: bool = False) -> None:
        self.left, self.hangs, self.sent = pieces, hangs, []

    async def receive(self) -> dict[str, Any]:
        if not self.left and self.hangs:
            await asyncio.Event().wait()
        self.left -= 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": self.hangs or self.left > 0}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append((message["type"], message.get("status"), self.left))


def run_body(sender: Sender, app: Any, deadline_s: float = 5.0) -> None:
    scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
    asyncio.run(BodyLimits(app, max_bytes=1000, deadline_s=deadline_s)(scope, sender.receive, sender.send))


def test_the_rest_of_a_refused_body_is_read_before_the_refusal_is_sent() -> None:
    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sender = Sender(pieces=7)
    run_body(sender, refuse)
    assert sender.sent[0] == ("http.response.start", 429, 0)


def test_a_body_that_does_not_come_is_given_up() -> None:
    caught: list[Exception] = []

    async def read(_scope: Any, receive: Any, _send: Any) -> None:
        try:
            while True:
                await receive()
        except Exception as error:
            caught.append(error)

    run_body(Sender(pieces=2, hangs=True), read, deadline_s=0.05)
    assert [getattr(error, "status_code", None) for error in caught] == [408]
    assert str(caught[0].__cause__) == "upload: must arrive within 0.05 s; found less than all of it. Send it again."
