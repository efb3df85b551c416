"""
The document: ``python manage.py gateway_openapi`` writes it to static/openapi/gateway.json.

Reference: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from common.errors import TYPES
from common.reasons import REASON_LIST
from proxy.openapi import answers, requests
from proxy.openapi.operations import ALONE, COMMON, Operation

BASES = ("/v1", "/api/v1")
EVENT_STREAM = "text/event-stream"
ABOUT = """\
A gateway in the words of the OpenAI API: change base URL and key of a client, nothing else.

Every path also answers `OPTIONS` (CORS, without a key) and each `GET` path `HEAD`. Another method
is a 405, any other path below these bases a 404, both in the one error shape, both with the reason
`unsupported_endpoint`. A stream that breaks off says so in its last event and does not end with
`[DONE]`.
"""
REQUEST_ID = {
    "description": "The id of this request; its receipt is `GET generation?id=`.",
    "required": True,
    "schema": {"type": "string", "pattern": "^req_[0-9a-hjkmnp-tv-z]{26}$"},
}
WHOLE = {"type": "string", "pattern": "^[0-9]+$"}
DURATION = {"type": "string", "pattern": r"^(\d+ms|\d+s|\d+m\d+s)$"}
HEADERS: dict[str, dict[str, Any]] = {"x-request-id": REQUEST_ID} | {
    name: {"description": meaning, "schema": schema}
    for name, meaning, schema in (
        ("x-ratelimit-limit-requests", "Requests per minute of the key.", WHOLE),
        ("x-ratelimit-remaining-requests", "How many of them are left.", WHOLE),
        ("x-ratelimit-reset-requests", "When all are back: `12ms`, `1s`, `6m0s`.", DURATION),
        ("x-ratelimit-limit-tokens", "Tokens per minute, where the key has a limit.", WHOLE),
        ("x-ratelimit-remaining-tokens", "How many of them are left.", WHOLE),
        ("x-ratelimit-reset-tokens", "When all are back.", DURATION),
        ("retry-after", "Seconds to wait, at least 1.", WHOLE),
        ("retry-after-ms", "The same in milliseconds, where it is less than a second.", WHOLE),
        ("x-should-retry", "Whether another try can help.", {"enum": ["true", "false"]}),
        ("x-tollgate-provider", "Who served the call.", {"type": "string"}),
        ("x-tollgate-attempts", "How many routes were tried.", WHOLE),
        ("x-tollgate-overhead-ms", "What the gateway itself took.", WHOLE),
        ("x-tollgate-cost", "What the call cost in US dollars.", {"type": "string"}),
        ("x-tollgate-max-tokens", "The limit set where the balance pays no more.", WHOLE),
        ("x-tollgate-ignored", "Parameters that the route cannot take.", {"type": "string"}),
        ("idempotent-replayed", "The answer was given before.", {"const": "true"}),
    )
}
RATES = [name for name in HEADERS if name.startswith("x-ratelimit-")]
RETRY = ["retry-after", "retry-after-ms", "x-should-retry"]
OF_CALLS = [
    *(name for name in HEADERS if name.startswith("x-tollgate-")),
    "idempotent-replayed",
]
PARAMETERS: dict[str, dict[str, Any]] = {
    "workspace": {
        "name": "x-workspace-id",
        "in": "header",
        "description": "The workspace to act in; needed where the key carries several.",
        "schema": {"type": "string"},
    },
    "idempotency": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request that is sent twice with the same key is made once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    "clamp": {
        "name": "x-tollgate-clamp",
        "in": "header",
        "description": "`off`: refuse, rather than lower max_tokens to what the balance pays.",
        "schema": {"type": "string", "examples": ["off"]},
    },
}


def document() -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    paths = {}
    for base in BASES:
        for operation in COMMON:
            suffix = "" if base == BASES[0] else "_api"
            paths[f"{base}/{operation.path}"] = _path(operation, suffix)
    paths |= {operation.path: _path(operation, "") for operation in ALONE}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate gateway",
            "version": "1",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {each.name: _success(each) for each in (*COMMON, *ALONE)}
            | {TYPES[status]: _refusal(status) for status in sorted(TYPES)},
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _schemas() -> dict[str, Any]:
    _, told = msgspec.json.schema_components(answers.SHAPES, ref_template=requests.REF)
    asked = requests.schemas()
    if clash := told.keys() & asked.keys():
        raise ValueError(f"Two shapes have one name: {sorted(clash)}. Rename one.")
    return dict(sorted((asked | told).items()))


def _path(operation: Operation, suffix: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name + suffix,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {
            "200": _response(operation.name),
            **{str(status): _response(TYPES[status]) for status in sorted(operation.refusals)},
        },
    }
    if not operation.keyed:
        described["security"] = []
    if operation.request:
        content = {"schema": _ref(operation.request), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {operation.method: described}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    names = ["workspace"] if operation.keyed else []
    if operation.request:
        names += ["idempotency", "clamp"]
    parameters: list[dict[str, Any]] = [
        {"$ref": f"#/components/parameters/{name}"} for name in names
    ]
    if "{id}" in operation.path:
        schema = {"type": "string", "minLength": 1}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": schema})
    if operation.query:
        parameters.append(
            {
                "name": "id",
                "in": "query",
                "required": True,
                "description": operation.query,
                "schema": {"type": "string", "minLength": 1},
            }
        )
    return parameters


def _success(operation: Operation) -> dict[str, Any]:
    shape: dict[str, Any] = {"schema": _ref(operation.answer)}
    if operation.answered:
        shape["example"] = operation.answered
    content = {"application/json": shape}
    if operation.streamed:
        # OpenAPI 3.1 has no words for events: an example says more than "a string".
        content[EVENT_STREAM] = {"example": operation.streamed}
    names = ["x-request-id", *(RATES if operation.limited else [])]
    names += OF_CALLS if operation.request else []
    return {"description": operation.summary + ".", "headers": _headers(names), "content": content}


def _refusal(status: int) -> dict[str, Any]:
    reasons = [name for name, each in REASON_LIST.items() if status in (each.status, *each.also)]
    names = ["x-request-id", *(RATES if status in (402, 403, 429, 503) else []), *RETRY]
    return {
        "description": "`reason` is one of: " + ", ".join(f"`{name}`" for name in reasons) + ".",
        "headers": _headers(names),
        "content": {"application/json": {"schema": _ref("Error"), "example": _example(status)}},
    }


def _example(status: int) -> dict[str, Any]:
    name, reason = next(
        (name, each) for name, each in REASON_LIST.items() if status in (each.status, *each.also)
    )
    error = {"type": TYPES[status], "message": reason.meaning.split(";")[0], "code": status}
    return {"error": {**error, "param": None, "reason": name}}


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _response(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{name}"}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": requests.REF.format(name=name)}
