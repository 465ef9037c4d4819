"""The service keeps what its OpenAPI document promises, whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
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


@pytest.fixture(scope="session")
def api_schema(server: Server) -> Any:
    return schemathesis.openapi.from_url(str(server.client.base_url.join("/openapi.json")))


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_service_conforms(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)


def test_document_has_examples_and_errors(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
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
