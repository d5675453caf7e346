"""Refuse a request body that is too large, before it is read or while it comes in."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import UploadTooLargeError


class UploadLimit:
    """ASGI middleware.

    Args:
        app: the application behind it.
        max_bytes: largest body [bytes].
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await JSONResponse(self._refusal(int(declared)).to_dict(), 413)(scope, receive, send)
            return
        n_bytes = 0

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_bytes:
                # The form parser lets nothing else through; the error handler finds the words in the cause.
                raise HTTPException(413) from self._refusal(n_bytes)
            return message

        await self._app(scope, counted, send)

    def _refusal(self, n_bytes: int) -> UploadTooLargeError:
        return UploadTooLargeError(
            "upload",
            f"may have at most {self._max_bytes / 1e6:g} MB",
            f"{n_bytes / 1e6:.1f} MB or more",
            "Send the perfusion series alone, without the rest of the examination.",
        )
