"""Every refusal as JSON in the words of `pool.errors`, and how the OpenAPI document shows them."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pool.errors import PoolError
from serve.errors import MalformedRequestError, http_status
from serve.http.schemas import ErrorView
from serve.silence import in_short

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
"""When a client that was told to come again should do so [s]."""
_RETRY = {"Retry-After": str(RETRY_AFTER_S)}
_COME_AGAIN = (429, 503)
_NOT_ALLOWED = (401, 403, 429)
"""Statuses that any route but the open ones may answer with, see `serve.http.access`."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documentation of a route's refusals, those of access control included."""
    return {status: _documented(status) for status in sorted({*statuses, *_NOT_ALLOWED})}


def _documented(status: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"model": ErrorView, "description": HTTPStatus(status).phrase}
    if status in _COME_AGAIN:
        when = {"description": "When to come again [s].", "schema": {"type": "integer"}, "example": RETRY_AFTER_S}
        shown["headers"] = {"Retry-After": when}
    return shown


def add_error_handlers(app: FastAPI) -> None:
    """Whatever is raised becomes a refusal; what nobody expected says nothing of itself."""

    @app.exception_handler(PoolError)
    async def on_pool_error(_request: Request, error: PoolError) -> JSONResponse:
        status = http_status(error)
        if status >= 500:
            _log.error("%s", error)
        return JSONResponse(error.to_dict(), status, _RETRY if status in _COME_AGAIN else None)

    @app.exception_handler(HTTPException)
    async def on_http_error(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, PoolError):
            return JSONResponse(error.__cause__.to_dict(), error.status_code, error.headers)
        refusal = MalformedRequestError("request", "must be as documented under /docs", str(error.detail))
        return JSONResponse(refusal.to_dict(), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse(MalformedRequestError(f"request {where}", str(first["msg"])).to_dict(), 400)

    @app.exception_handler(Exception)
    async def on_unexpected(_request: Request, error: Exception) -> JSONResponse:
        _log.error("a request failed: %s", in_short(error))
        return JSONResponse({"error": "InternalError", "message": "The service failed; its log says how."}, 500)
