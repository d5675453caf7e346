"""The OpenAPI document: complete, with examples, and true of whatever is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.serve.http.services import Service

TOKEN = "t" * 40


SETTINGS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
load_all_checks()
CHECKED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "response_schema_conformance",
        "content_type_conformance",
    )
]


def test_answers_are_as_documented_whatever_is_sent(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"test {TOKEN}")
    (tmp_path / "tokens").chmod(0o600)
    service = Service(tmp_path, token_file=tmp_path / "tokens", answer_deadline_s=0.01, max_upload_mb=1)
    api = schemathesis.openapi.from_asgi("/openapi.json", service.http.app)
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 12
    statuses: set[int] = set()
    for operation in operations:

        @SETTINGS
        @given(operation.as_strategy())
        def answers_as_documented(case: Any) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=CHECKED)
            assert "/tmp" not in answer.text
            assert "Traceback" not in answer.text

        answers_as_documented()
    assert {200, 404} <= statuses


def test_every_route_has_a_summary_refusals_and_examples(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)
            if path in ("/healthz", "/readyz"):
                assert operation["security"] == []
                continue
            assert operation["security"] == [{"HTTPBearer": []}], (path, method)
            assert {"401", "403", "429"} <= set(operation["responses"]), (path, method)
            for parameter in operation.get("parameters", ()):
                assert parameter["description"], (path, parameter["name"])
    for name, shown in document["components"]["schemas"].items():
        fields = shown.get("properties", {})
        assert "examples" in shown or all("examples" in f or "$ref" in str(f) for f in fields.values()), name
