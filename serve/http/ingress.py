"""HTTP: the front as a FastAPI application."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Response, Security
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer

from pool import __version__
from pool.results import NOT_FOR_DIAGNOSIS
from serve.http.access import OPEN_PATHS, Access
from serve.http.bodies import BodyLimits
from serve.http.front import Front
from serve.http.refusals import add_error_handlers, refusals
from serve.http.schemas import METRICS_EXAMPLE, HealthView, PoolView
from serve.http.study_routes import study_routes
from serve.http.timing import Timing
from serve.monitoring.requests import CONTENT_TYPE


def create_app(front: Front) -> FastAPI:
    """The HTTP application of one front."""
    token = HTTPBearer(auto_error=False, description="Wanted where the service has a token file.")
    app = FastAPI(
        title="Perfusion pool",
        version=__version__,
        description=f"The myocardium on MR perfusion studies, and how far to trust the outline. {NOT_FOR_DIAGNOSIS}",
    )
    settings = front.settings
    # the last one added is asked first
    app.add_middleware(BodyLimits, max_bytes=settings.max_upload_bytes, deadline_s=settings.upload_deadline_s)
    app.add_middleware(Access, tokens=front.tokens)
    app.add_middleware(Timing, metrics=front.metrics)
    add_error_handlers(app)
    app.include_router(study_routes(front), dependencies=[Security(token)])
    app.include_router(_service_routes(front), dependencies=[Security(token)])
    app.include_router(_open_routes(front))
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _service_routes(front: Front) -> APIRouter:
    routes = APIRouter(tags=["service"])

    @routes.get("/v1/pool", summary="The pool, its members and the shards that hold them.", responses=refusals())
    def get_pool() -> PoolView:
        present = front.present()
        settings = present.settings
        return PoolView.of(present.manifest, settings.rule, settings.n_shards, settings.pool_origin)

    @routes.get(
        "/metrics",
        summary="Measurements in Prometheus' text format.",
        response_class=PlainTextResponse,
        responses={**refusals(), 200: {"content": {"text/plain": {"example": METRICS_EXAMPLE}}}},
    )
    async def get_metrics() -> Response:
        return Response(await front.metrics_text(), media_type=CONTENT_TYPE)

    return routes


def _open_routes(front: Front) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="The front answers.")
    async def get_health() -> HealthView:
        return HealthView(ok=True, complaints=[])

    @routes.get(
        "/readyz",
        summary="Every shard has loaded, verified and tried its members.",
        responses={503: {"model": HealthView, "description": "Not ready"}},
    )
    async def get_readiness(response: Response) -> HealthView:
        complaints = await front.complaints()
        if complaints:
            response.status_code = 503
            response.headers["Retry-After"] = "5"
        return HealthView(ok=not complaints, complaints=complaints)

    return routes


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; FastAPI's own 422 is left out where a request that is wrong gets our 400."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for path, methods in made["paths"].items():
            for operation in methods.values():
                content = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
                if content.get("schema", {}).get("$ref", "").endswith("HTTPValidationError"):
                    del operation["responses"]["422"]
                if path in OPEN_PATHS:
                    operation["security"] = []
        for unused in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema
