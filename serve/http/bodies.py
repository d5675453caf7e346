"""Request bodies: too large is refused before it is read or while it comes in, too slow while it comes in."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import UploadTooLargeError, UploadTooSlowError

MOST_DRAINED_BYTES = 64_000_000
"""Most of a refused body that is read and thrown away [bytes]."""
DRAIN_DEADLINE_S = 20.0
"""Longest time for that [s]."""


class BodyLimits:
    """ASGI middleware.

    A refusal is sent once the rest of the body has been read, within limits: a client that is still sending would
    otherwise find its connection closed and never see the words.

    Args:
        app: the application behind it.
        max_bytes: largest body [bytes].
        deadline_s: longest time that a body may take [s].
    """

    def __init__(self, app: ASGIApp, max_bytes: int, deadline_s: float) -> None:
        self._app, self._max_bytes, self._deadline_s = app, max_bytes, deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await JSONResponse(self._too_large(int(declared)).to_dict(), 413)(scope, receive, send)
            return
        body = _Body(receive)
        end_s = asyncio.get_running_loop().time() + self._deadline_s

        async def counted() -> Message:
            if body.is_complete:
                return await body.next()
            try:
                async with asyncio.timeout_at(end_s):
                    message = await body.next()
            except TimeoutError:
                # The form parser lets nothing else through; the error handler finds the words in the cause.
                raise HTTPException(408) from self._too_slow()
            if body.n_bytes > self._max_bytes:
                raise HTTPException(413) from self._too_large(body.n_bytes)
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                await body.drain()
            await send(message)

        await self._app(scope, counted, answer)

    def _too_large(self, n_bytes: int) -> UploadTooLargeError:
        return UploadTooLargeError(
            "upload",
            f"may have at most {self._max_bytes / 1e6:g} MB",
            f"{n_bytes / 1e6:.1f} MB or more",
            "Send one series alone, without the rest of the examination.",
        )

    def _too_slow(self) -> UploadTooSlowError:
        return UploadTooSlowError(
            "upload", f"must arrive within {self._deadline_s:g} s", "less than all of it", "Send it again."
        )


class _Body:
    """A request body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.n_bytes, self.is_complete = receive, 0, False

    async def next(self) -> Message:
        message = await self._receive()
        self.n_bytes += len(message.get("body", b""))
        self.is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        most = self.n_bytes + MOST_DRAINED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_DEADLINE_S):
                while not self.is_complete and self.n_bytes < most:
                    await self.next()
