"""HTTP: the front as a FastAPI application. Every refusal is JSON in the words of `pool.errors`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from pool import __version__
from pool.errors import PoolError
from pool.output import RESULT_NAMES
from pool.results import NOT_FOR_DIAGNOSIS
from serve.errors import MalformedRequestError, StudyFailedError, http_status
from serve.http.bodies import BodyLimits
from serve.http.front import Accepted, Front
from serve.http.schemas import ErrorView, HealthView, PoolView, StudyPage, StudyView
from serve.silence import in_short
from serve.store.records import StudyState

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
"""When a client that was told to come again should do so [s]."""
_RETRY = {"Retry-After": str(RETRY_AFTER_S)}
MOST_FILES = 20_000
"""Most files of one upload, as of one archive."""
_MEDIA_TYPES = {
    ".json": "application/json",
    ".dcm": "application/dicom",
    ".png": "image/png",
    ".npz": "application/zip",
}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "One zip, many DICOM files, or one .mat, .npz or NIfTI file.",
                        }
                    },
                }
            }
        },
    }
}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorView, "description": HTTPStatus(status).phrase} for status in statuses}


_UPLOAD_REFUSALS = _refusals(400, 408, 413, 415, 422, 429, 503)


def create_app(front: Front) -> FastAPI:
    """The HTTP application of one front."""
    app = FastAPI(
        title="Perfusion pool",
        version=__version__,
        description=f"The myocardium on perfusion studies, and how far to trust the outline. {NOT_FOR_DIAGNOSIS}",
    )
    settings = front.settings
    app.add_middleware(BodyLimits, max_bytes=settings.max_upload_bytes, deadline_s=settings.upload_deadline_s)
    _add_error_handlers(app)
    _add_study_routes(app, front)
    _add_service_routes(app, front)
    return app


def _add_study_routes(app: FastAPI, front: Front) -> None:
    async def receive(request: Request) -> Accepted:
        async with front.admission.room(), request.form(max_files=MOST_FILES) as form:
            sent = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
            return await front.accept([(item.filename or "", item.file) for item in sent])

    @app.post(
        "/v1/studies",
        status_code=202,
        openapi_extra=_UPLOAD_BODY,
        responses={
            **_UPLOAD_REFUSALS,
            200: {"description": "Done before", "model": StudyView},
        },
        summary="Send a study; 202 once it is whole on disk and known to be readable, 200 if it was done before.",
    )
    async def send_study(request: Request, response: Response) -> StudyView:
        accepted = await receive(request)
        view = StudyView.of(accepted.record)
        response.headers["Location"] = view.links["self"]
        response.status_code = 200 if accepted.record.state is StudyState.DONE else 202
        return view

    @app.post(
        "/v1/analyse",
        openapi_extra=_UPLOAD_BODY,
        response_class=FileResponse,
        responses={
            **_UPLOAD_REFUSALS,
            200: {"content": {"application/json": {}}, "description": "result.json"},
            202: {"description": "Not done yet: ask for it under its link", "model": StudyView},
        },
        summary="Send a small study and wait for its result.json; 202 as for /v1/studies where it takes longer.",
    )
    async def analyse(request: Request) -> Response:
        accepted = await receive(request)
        record = await front.ended(accepted.record.id, front.settings.answer_deadline_s)
        view = StudyView.of(record)
        headers = {"Location": view.links["self"]}
        if record.state is StudyState.DONE:
            return FileResponse(front.store.result_file(record.id, "result.json"), 200, headers, "application/json")
        if record.state.is_final:
            refusal = StudyFailedError(f"study {record.id}", f"ended as {record.state}", record.reason.rstrip("."))
            return JSONResponse(refusal.to_dict(), 422, headers)
        return JSONResponse(view.model_dump(mode="json"), 202, headers)

    @app.get("/v1/studies", summary="All studies, the oldest first, page by page.", responses=_refusals(400))
    def list_studies(
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> StudyPage:
        records = front.store.records()
        page = [StudyView.of(record) for record in records[offset : offset + limit]]
        return StudyPage(n_studies=len(records), studies=page)

    @app.get("/v1/studies/{study_id}", summary="State and progress of a study.", responses=_refusals(404))
    def get_study(study_id: str) -> StudyView:
        return StudyView.of(front.store.get(study_id))

    @app.delete(
        "/v1/studies/{study_id}",
        summary="Cancel an unfinished study (200), or remove one that has ended with its results (204).",
        response_model=StudyView,
        responses={**_refusals(404), 204: {"description": "Removed"}},
    )
    async def end_study(study_id: str) -> StudyView | Response:
        record = await front.end(study_id)
        return Response(status_code=204) if record is None else StudyView.of(record)

    def add_result(name: str) -> None:
        media_type = _MEDIA_TYPES[name[name.rindex(".") :]]

        @app.get(
            f"/v1/studies/{{study_id}}/{name}",
            name=f"get_{name.replace('.', '_')}",
            summary=f"The result {name} of a study that is done.",
            response_class=FileResponse,
            responses={**_refusals(404), 200: {"content": {media_type: {}}}},
        )
        def get_result(study_id: str) -> FileResponse:
            return FileResponse(front.store.result_file(study_id, name), media_type=media_type, filename=name)

    for name in RESULT_NAMES:
        add_result(name)


def _add_service_routes(app: FastAPI, front: Front) -> None:
    @app.get("/v1/pool", summary="The pool, its members and the shards that hold them.")
    def get_pool() -> PoolView:
        settings = front.settings
        return PoolView.of(front.manifest, settings.rule, settings.n_shards, settings.pool_origin)

    @app.get("/healthz", summary="The front answers.")
    async def get_health() -> HealthView:
        return HealthView(ok=True, complaints=[])

    @app.get(
        "/readyz",
        summary="Every shard has loaded and verified its members.",
        responses={503: {"model": HealthView, "description": "Not ready"}},
    )
    async def get_readiness(response: Response) -> HealthView:
        complaints = await front.complaints()
        response.status_code = 503 if complaints else 200
        return HealthView(ok=not complaints, complaints=complaints)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(PoolError)
    async def on_pool_error(_request: Request, error: PoolError) -> JSONResponse:
        status = http_status(error)
        if status >= 500:
            _log.error("%s", error)
        return JSONResponse(error.to_dict(), status, _RETRY if status in (429, 503) else None)

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
