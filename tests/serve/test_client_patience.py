"""A client waits while the service is full or restarts, and only then."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from serve.client import ServiceClient
from serve.errors import ServiceRefusedError, ServiceUnreachableError
from serve.http.schemas import EXAMPLE_ID, StudyView

DONE = StudyView(
    id=EXAMPLE_ID, state="done", created_at="", n_sweeps=1, n_sweeps_done=1, reason="", results=[], links={}
).model_dump(mode="json")
FULL = {"error": "QueueFullError", "message": "", "subject": "service", "rule": "is full", "found": "", "remedy": ""}
WRONG = {**FULL, "error": "UnreadableFileError", "rule": "must be whole"}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that only passes by sleeping."""
    pauses: list[float] = []
    monkeypatch.setattr("serve.client.time.sleep", pauses.append)
    monkeypatch.setattr("serve.client.time.monotonic", lambda: sum(pauses))
    return pauses


class Script:
    """Answers one after the other; notes what it was sent."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.left, self.bodies, self.tokens = list(answers), list[bytes](), set[str | None]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.read())
        self.tokens.add(request.headers.get("Authorization"))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def client_of(script: Script, patience_s: float) -> ServiceClient:
    return ServiceClient("http://service", httpx.MockTransport(script), token="t" * 30, patience_s=patience_s)


def test_a_study_is_sent_whole_again_until_there_is_room(slept: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"pixels" * 100)
    script = Script(
        httpx.Response(429, json=FULL, headers={"Retry-After": "7"}),
        httpx.ConnectError("refused"),
        httpx.Response(404, text="Path '/v1/studies' not found."),  # Ray Serve's proxy, not the service
        httpx.Response(503, json=FULL),
        httpx.Response(202, json=DONE),
    )
    assert client_of(script, 60).send(tmp_path / "a.npz").id == EXAMPLE_ID
    assert all(b"pixels" * 100 in body for body in script.bodies)
    assert script.tokens == {"Bearer " + "t" * 30}
    assert slept[0] == 7  # as it was told
    assert len(slept) == 4


def test_a_refusal_is_final_at_once(slept: list[float], tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"x")
    with pytest.raises(ServiceRefusedError, match="must be whole"):
        client_of(Script(httpx.Response(422, json=WRONG)), 60).send(tmp_path / "a.npz")
    with pytest.raises(ServiceRefusedError):
        client_of(Script(httpx.Response(404, json=WRONG)), 60).get(EXAMPLE_ID)
    assert slept == []


def test_patience_ends(slept: list[float]) -> None:
    with pytest.raises(ServiceUnreachableError, match="must answer; found ConnectError"):
        client_of(Script(*[httpx.ConnectError("refused")] * 99), 10).get(EXAMPLE_ID)
    assert sum(slept) <= 10
    with pytest.raises(ServiceRefusedError, match="is full"):
        client_of(Script(httpx.Response(429, json=FULL, headers={"Retry-After": "60"})), 10).get(EXAMPLE_ID)


def test_without_patience_nothing_is_repeated(slept: list[float]) -> None:
    with pytest.raises(ServiceUnreachableError):
        client_of(Script(httpx.ReadTimeout("slow")), 0).get(EXAMPLE_ID)
    assert slept == []
