"""Who may ask: with a token file, who has a token; without one, programs of this machine alone."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pool.errors import SettingsError
from serve.errors import NotAllowedError
from serve.http.tokens import TokenFile
from serve.loopback import is_loopback

_log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json"})
"""What anybody may see: whether the service lives, and how to use it."""
MOST_FAILURES, WINDOW_S = 10, 60.0
"""So many wrong tokens from one address within so many seconds [s]; then it is not listened to until these are over."""
MOST_ADDRESSES = 10_000
"""Addresses whose failures are remembered; the one that failed longest ago is forgotten first."""


class FailureLimit:
    """Failures by address within a window.

    Args:
        now_s: a clock that only rises [s].
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long an address must wait before it is listened to again [s]; 0 for at once."""
        times = self._failures.get(address)
        if times is None or len(times) < MOST_FAILURES:
            return 0.0
        return max(0.0, times[0] + WINDOW_S - self._now_s())

    def note(self, address: str) -> None:
        """One more failure of an address."""
        self._failures.setdefault(address, deque(maxlen=MOST_FAILURES)).append(self._now_s())
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)


class Access:
    """ASGI middleware.

    Without a token file a request must have come in at a loopback address, and must call the service by a loopback
    name: a web page of another site, which a browser of this machine shows, does not.

    Args:
        app: the application behind it.
        tokens: who has a token; None without a token file.
        limit: of failures.
    """

    def __init__(self, app: ASGIApp, tokens: TokenFile | None, limit: FailureLimit | None = None) -> None:
        self._app, self._tokens, self._limit = app, tokens, limit or FailureLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            refusal = self._refusal_without_tokens(scope) if self._tokens is None else self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        assert self._tokens is not None
        address = str((scope.get("client") or ("unknown", 0))[0])
        if (wait_s := self._limit.wait_s(address)) > 0:
            rule = f"after {MOST_FAILURES} wrong tokens an address has to wait"
            return _refused(429, "request", rule, "", "Try later.", {"Retry-After": str(int(wait_s) + 1)})
        kind, _, token = _header(scope, b"authorization").partition(" ")
        try:
            owner = self._tokens.owner_of(token.strip()) if kind.lower() == "bearer" else None
        except SettingsError as error:
            _log.error("%s", error)
            return _refused(503, "service", "cannot check tokens now", "", "Its operator has to mend the token file.")
        if owner is not None:
            return None
        self._limit.note(address)
        _log.warning("a request without a token that is known was refused")
        found = "another one" if token else "none"
        remedy = "Send the header 'Authorization: Bearer TOKEN'."
        return _refused(401, "request", "needs a token of this service", found, remedy, {"WWW-Authenticate": "Bearer"})

    def _refusal_without_tokens(self, scope: Scope) -> JSONResponse | None:
        came_in_at = str((scope.get("server") or ("unknown", 0))[0])
        called = urlsplit(f"//{_header(scope, b'host')}").hostname or ""
        if is_loopback(came_in_at) and is_loopback(called):
            return None
        rule = "a service without a token file answers to programs of its own machine alone"
        return _refused(403, "request", rule, "", "Its operator has to set token_file.")


def _header(scope: Scope, name: bytes) -> str:
    return str(dict(scope["headers"]).get(name, b"").decode("latin-1"))


def _refused(
    status: int, subject: str, rule: str, found: str, remedy: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(NotAllowedError(subject, rule, found, remedy).to_dict(), status, headers)
