"""Routes of studies: send, list, look up, watch, fetch, end."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

from pool.output import RESULT_NAMES
from serve.errors import StudyFailedError, TooManyWatchersError
from serve.http.event_stream import MOST_WATCHERS, event_stream
from serve.http.front import Accepted, Front
from serve.http.refusals import refusals
from serve.http.schemas import EVENTS_EXAMPLE, EXAMPLE_ID, StudyPage, StudyView
from serve.store.records import StudyState

MOST_FILES = 20_000
"""Most files of one upload, as of one archive."""
MOST_FIELDS = 100
"""Most form fields beside the files."""
_MEDIA_TYPES = {
    ".json": "application/json",
    ".dcm": "application/dicom",
    ".png": "image/png",
    ".npz": "application/zip",
    ".gz": "application/gzip",
}
_FILES = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "binary"},
    "description": "One zip, many DICOM files, or one .mat, .npz or NIfTI file: a first pass, or ASL images.",
}
_FORM = {"type": "object", "required": ["files"], "properties": {"files": _FILES}}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "description": "For example: curl -F files=@study.zip URL, or -F files=@IM0001 -F files=@IM0002 and so on.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["files"], "properties": {"files": _FILES}}
            }
        },
    }
}
_UPLOAD_REFUSALS = refusals(400, 408, 413, 415, 422, 503)
StudyId = Annotated[
    str, Path(description="Id of the study, as it was answered when it was sent.", examples=[EXAMPLE_ID])
]


class Watchers:
    """How many streams of events are open."""

    def __init__(self) -> None:
        self.n = 0


def study_routes(front: Front) -> APIRouter:
    """All of them, for one front."""
    routes = APIRouter(tags=["studies"])
    _add_sending(routes, front)
    _add_looking(routes, front)
    _add_watching(routes, front, Watchers())
    for name in RESULT_NAMES:
        _add_result(routes, front, name)
    return routes


def _add_sending(routes: APIRouter, front: Front) -> None:
    async def receive(request: Request) -> Accepted:
        async with (
            front.admission.room(),
            request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS) as form,
        ):
            sent = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
            return await front.accept([(item.filename or "", item.file) for item in sent])

    @routes.post(
        "/v1/studies",
        status_code=202,
        openapi_extra=_UPLOAD_BODY,
        responses={**_UPLOAD_REFUSALS, 200: {"description": "Done before", "model": StudyView}},
        summary="Send a study; 202 once it is whole on disk and known to be readable, 200 if it was done before.",
    )
    async def send_study(request: Request, response: Response) -> StudyView:
        accepted = await receive(request)
        view = StudyView.of(accepted.record)
        response.headers["Location"] = view.links["self"]
        response.status_code = 200 if accepted.record.state is StudyState.DONE else 202
        return view

    @routes.post(
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


def _add_looking(routes: APIRouter, front: Front) -> None:
    @routes.get("/v1/studies", summary="All studies, the oldest first, page by page.", responses=refusals(400))
    def list_studies(
        offset: Annotated[int, Query(ge=0, le=2**31, description="Studies to skip.")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000, description="Most studies on the page.")] = 100,
    ) -> StudyPage:
        records = front.store.records()
        page = [StudyView.of(record) for record in records[offset : offset + limit]]
        return StudyPage(n_studies=len(records), studies=page)

    @routes.get("/v1/studies/{study_id}", summary="State and progress of a study.", responses=refusals(404))
    def get_study(study_id: StudyId) -> StudyView:
        return StudyView.of(front.store.get(study_id))

    @routes.delete(
        "/v1/studies/{study_id}",
        summary="Cancel an unfinished study (200), or remove one that has ended with its results (204).",
        response_model=StudyView,
        responses={**refusals(404), 204: {"description": "Removed"}},
    )
    async def end_study(study_id: StudyId) -> StudyView | Response:
        record = await front.end(study_id)
        return Response(status_code=204) if record is None else StudyView.of(record)


def _add_watching(routes: APIRouter, front: Front, watchers: Watchers) -> None:
    @routes.get(
        "/v1/studies/{study_id}/events",
        summary="What happens to a study, as server-sent events: member by member and slice by slice, until it ends.",
        response_class=StreamingResponse,
        responses={
            **refusals(400, 404, 503),
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS_EXAMPLE}}},
        },
    )
    def watch_study(
        study_id: StudyId,
        last_event_id: Annotated[
            int, Header(ge=0, le=2**31, description="Number of the last event that the client has.")
        ] = 0,
    ) -> StreamingResponse:
        front.store.get(study_id)
        if watchers.n >= MOST_WATCHERS:
            raise TooManyWatchersError("service", f"streams at most {MOST_WATCHERS} studies at once", "", "Ask later.")

        async def stream() -> Any:
            watchers.n += 1
            try:
                async for text in event_stream(front.store, study_id, last_event_id):
                    yield text
            finally:
                watchers.n -= 1

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _add_result(routes: APIRouter, front: Front, name: str) -> None:
    media_type = _MEDIA_TYPES[name[name.rindex(".") :]]

    @routes.get(
        f"/v1/studies/{{study_id}}/{name}",
        name=f"get_{name.replace('.', '_')}",
        summary=f"The result {name} of a study that is done.",
        response_class=FileResponse,
        responses={**refusals(404), 200: {"content": {media_type: {}}, "description": name}},
    )
    def get_result(study_id: StudyId) -> FileResponse:
        return FileResponse(front.store.result_file(study_id, name), media_type=media_type, filename=name)
