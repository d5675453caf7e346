"""STOW-RS as a server (PS3.18, 10.5): a PACS or a router that forwards studies tells us of them this way."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pool.errors import OutputError, PoolError, SettingsError
from serve.errors import MalformedRequestError, NotAllowedError, UploadTooLargeError, http_status
from serve.pacs.inbox import Inbox
from serve.pacs.multipart import PartsToFiles
from serve.pacs.settings import PacsSettings

CANNOT_UNDERSTAND, OUT_OF_RESOURCES = 0xC000, 0xA700
"""Failure reasons (PS3.18 table I.2-2)."""
_log = logging.getLogger(__name__)


def create_app(
    settings: PacsSettings, inbox: Inbox, on_change: Callable[[], None], counts: Callable[[], dict[str, int]]
) -> Starlette:
    """The endpoint: POST /dicom-web/studies and /dicom-web/studies/UID, GET /healthz.

    Args:
        settings: limits and token.
        inbox: takes the instances.
        on_change: called after new ones.
        counts: runs by state, for /healthz.
    """

    async def store(request: Request) -> Response:
        try:
            _check_token(settings, request)
            return await _store(settings, inbox, on_change, request)
        except NotAllowedError as error:
            return JSONResponse(error.to_dict(), 401, {"WWW-Authenticate": "Bearer"})
        except OutputError as error:
            return JSONResponse(error.to_dict(), 503, {"Retry-After": "60"})
        except PoolError as error:
            return JSONResponse(error.to_dict(), http_status(error))

    async def health(_request: Request) -> Response:
        return JSONResponse({"ok": True, "runs": await run_in_threadpool(counts)})

    return Starlette(
        routes=[
            Route("/dicom-web/studies", store, methods=["POST"]),
            Route("/dicom-web/studies/{study_uid:str}", store, methods=["POST"]),
            Route("/healthz", health),
        ]
    )


@contextmanager
def stow_server(app: Starlette, host: str, port: int) -> Iterator[int]:
    """Serve an application in a thread for as long as the block lasts; gives the port (0 asks for a free one)."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError("pacs setting stow_port", "must be free", error.strerror or "") from error
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


async def _store(settings: PacsSettings, inbox: Inbox, on_change: Callable[[], None], request: Request) -> Response:
    with inbox.staging() as folder:
        content_type = request.headers.get("Content-Type", "")
        parts = PartsToFiles(content_type, folder, settings.max_instance_mb * 1_000_000)
        n_bytes = 0
        async for chunk in request.stream():
            n_bytes += len(chunk)
            if n_bytes > settings.max_body_mb * 1_000_000:
                raise UploadTooLargeError("body", f"may have at most {settings.max_body_mb} MB", "more")
            parts.write(chunk)
        files = parts.close()
        if not files:
            raise MalformedRequestError("body", "must have at least one part", "none")
        stored, failed = await run_in_threadpool(_add_all, inbox, files, request.path_params.get("study_uid"))
    if stored:
        on_change()
    answer = {"00081199": _sequence(stored)} if stored else {}
    if failed:
        answer["00081198"] = _sequence(failed)
    status = 200 if not failed else 202 if stored else 409
    return JSONResponse(answer, status, media_type="application/dicom+json")


def _add_all(
    inbox: Inbox, files: list[Path], study_uid: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    stored, failed = [], []
    for path in files:
        try:
            kind, instance = inbox.add(path, study_uid)
            stored.append({"00081150": _element("UI", kind), "00081155": _element("UI", instance)})
        except OSError:
            _log.warning("STOW-RS: no room for an instance")
            failed.append({"00081197": _element("US", OUT_OF_RESOURCES)})
        except PoolError:
            failed.append({"00081197": _element("US", CANNOT_UNDERSTAND)})
    return stored, failed


def _check_token(settings: PacsSettings, request: Request) -> None:
    if settings.stow_token is None:
        return
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), settings.stow_token.get_secret_value().encode()):
        raise NotAllowedError("sender", "must show the token of this endpoint", "another one or none")


def _element(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}
