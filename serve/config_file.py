"""The service as the file that `serve deploy` and a RayService take: the same settings object, written down."""

from __future__ import annotations

from typing import Any

from serve.local import APPLICATION_NAME
from serve.settings import ServiceSettings

IMPORT_PATH = "serve.app:build"


def serve_config(settings: ServiceSettings) -> dict[str, Any]:
    """Fields of the file; `args` are those settings that are not the default, and make an equal object again.

    Args:
        settings: of the service; paths as the replicas see them.
    """
    return {
        "http_options": {"host": settings.host, "port": settings.port},
        "applications": [
            {
                "name": APPLICATION_NAME,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": settings.model_dump(mode="json", exclude_defaults=True),
            }
        ],
    }
