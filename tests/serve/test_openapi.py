"""The service keeps what its OpenAPI document promises, whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from serving import Server

# Not positive_data_acceptance: no schema can say that a file shows a head.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


EXAMPLES = 15  # per operation, and as many that break the schema
OPERATIONS = {
    *(("POST", f"/predict_{name}") for name in ("multitask", "batch", "volume")),
    *(("GET", path) for path in ("/", "/health", "/ready", "/model", "/metrics")),
}
# Only what takes parameters or a body can be sent something that breaks the schema.
CASES = [
    *((*operation, schemathesis.GenerationMode.POSITIVE) for operation in sorted(OPERATIONS)),
    *((*o, schemathesis.GenerationMode.NEGATIVE) for o in sorted(OPERATIONS) if o[0] == "POST"),
]


@pytest.fixture(scope="session")
def schema(server: Server) -> Any:
    return schemathesis.openapi.from_url(str(server.client.base_url.join("/openapi.json")))


@pytest.mark.no_cover  # the service is another process
@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_service_conforms(
    schema: Any, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    operation = schema[path][method]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def conforms(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    conforms()


def test_document_has_examples_and_errors(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    found = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert found == OPERATIONS
    for path in ("/predict_multitask", "/predict_batch", "/predict_volume"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"200", "400", "401", "406", "408", "413", "415", "422", "503"} <= set(responses)
        for status, response in responses.items():
            if status != "200":
                example = response["content"]["application/json"]["example"]
                assert set(example) == {"error", "reason", "detail", "request_id"}
    schemas = document["components"]["schemas"]
    assert schemas["MultitaskAnswer"]["examples"]
    assert schemas["BatchAnswer"]["examples"]
    assert schemas["VolumeAnswer"]["examples"]
