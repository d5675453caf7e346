"""Who may ask: tokens, loopback, and an end to guessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pool.errors import SettingsError
from serve.http.access import MOST_FAILURES, WINDOW_S, Access, FailureLimit
from serve.http.tokens import TokenFile, read_tokens
from serve.settings import ServiceSettings

GOOD, OTHER = "g" * 40, "o" * 40


def token_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def client_of(tokens: TokenFile | None, url: str = "http://service", limit: FailureLimit | None = None) -> TestClient:
    app = FastAPI()
    app.add_middleware(Access, tokens=tokens, limit=limit)

    @app.get("/v1/pool")
    def get_pool() -> str:
        return "secret"

    @app.get("/healthz")
    def get_health() -> str:
        return "alive"

    return TestClient(app, url)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_who_has_a_token_may_ask_and_nobody_else(tmp_path: Path) -> None:
    client = client_of(TokenFile(token_file(tmp_path, f"# of the lab\nlab {GOOD}\nward {OTHER} # night\n\n")))
    for token in (GOOD, OTHER):
        assert client.get("/v1/pool", headers=bearer(token)).json() == "secret"
    for headers in (
        {},
        bearer("x" * 40),
        bearer(GOOD[:-1]),
        bearer(""),
        {"Authorization": f"Basic {GOOD}"},
        bearer("é"),
    ):
        answer = client.get("/v1/pool", headers={key: value.encode("latin-1") for key, value in headers.items()})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.json()["error"] == "NotAllowedError"
        assert GOOD not in answer.text
    assert client.get("/healthz").status_code == 200


def test_after_many_wrong_tokens_an_address_is_not_listened_to(tmp_path: Path) -> None:
    now_s = 1000.0
    client = client_of(TokenFile(token_file(tmp_path, f"lab {GOOD}")), limit=FailureLimit(lambda: now_s))
    for _ in range(MOST_FAILURES):
        assert client.get("/v1/pool", headers=bearer("x" * 40)).status_code == 401
    for token in (GOOD, "x" * 40):
        answer = client.get("/v1/pool", headers=bearer(token))
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "61")
    now_s += WINDOW_S + 1
    assert client.get("/v1/pool", headers=bearer(GOOD)).status_code == 200


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = token_file(tmp_path, f"lab {GOOD}")
    client = client_of(TokenFile(path))
    token_file(tmp_path, f"lab {OTHER} # renewed")
    assert client.get("/v1/pool", headers=bearer(GOOD)).status_code == 401
    assert client.get("/v1/pool", headers=bearer(OTHER)).status_code == 200
    path.unlink()
    answer = client.get("/v1/pool", headers=bearer(OTHER))
    assert (answer.status_code, answer.json()["rule"]) == (503, "cannot check tokens now")


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("", 0o600, "needs at least one token; found none."),
        ("# nothing\n", 0o600, "needs at least one token; found none."),
        ("lab short", 0o600, "a line is a name and a token of at least 24 characters; found another form in line 1."),
        (f"lab {GOOD}\n{OTHER}", 0o600, "found another form in line 2."),
        (f"lab {GOOD}", 0o644, "may not be open to all users of the machine; found mode 644. chmod 600 it."),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_quoting_it(
    tmp_path: Path, text: str, mode: int, sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_tokens(token_file(tmp_path, text, mode))
    assert sentence in str(caught.value)
    assert OTHER not in str(caught.value)


def test_without_tokens_programs_of_this_machine_alone_are_answered() -> None:
    def status(came_in_at: str, host: str) -> int:
        return client_of(None, f"http://{came_in_at}").get("/v1/pool", headers={"Host": host}).status_code

    assert status("127.0.0.1", "127.0.0.1:8000") == 200
    assert status("127.0.0.1", "localhost") == 200
    assert status("[::1]", "[::1]:8000") == 200
    assert status("192.0.2.7", "192.0.2.7") == 403  # listens on other addresses too
    assert status("127.0.0.1", "evil.example") == 403  # a page of another site, by way of its name server
    assert client_of(None, "http://192.0.2.7").get("/healthz").status_code == 200


@pytest.mark.parametrize(("fields", "fits"), [({}, False), ({"token_file": "tokens"}, True)])
def test_an_open_address_needs_a_token_file(fields: dict[str, Any], fits: bool) -> None:
    if fits:
        assert ServiceSettings(pool_dir="pool", host="0.0.0.0", **fields).host == "0.0.0.0"
        return
    with pytest.raises(SettingsError, match="host: must be a loopback address, unless token_file says who may ask"):
        ServiceSettings(pool_dir="pool", host="0.0.0.0", **fields)
