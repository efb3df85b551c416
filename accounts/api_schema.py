"""The management API's OpenAPI document, from what ``operation`` declares of each method."""

from __future__ import annotations

import json
from typing import Any, Final

from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from accounts.api import SAFE, Operation
from common.api import Nothing
from common.errors import TYPES
from common.reasons import REASON_LIST

ABOUT: Final = """\
Programs get what people get in the dashboard.

Send a key with management scopes as `Authorization: Bearer` or `X-API-Key`, or be signed in: then
changes need the CSRF token as `X-CSRFToken`. A key that carries several workspaces names one in
`x-workspace-id`; it takes the `ws_…` id or the workspace's external id.

Lists are pages: `limit` rows, `next_cursor` for the next page; `format=csv` answers all of them.
Money is decimal strings, times are RFC 3339 in UTC. Every answer has `x-request-id`. A POST that
makes keys or moves money takes an `Idempotency-Key`: sent again within a day, it is answered
again and not made again. Updates take the `version` that was read, in the body or in `If-Match`.
"""
WORKSPACE: Final = OpenApiParameter(
    "x-workspace-id",
    str,
    OpenApiParameter.HEADER,
    description="The workspace to act in; needed where the key carries several.",
)
ONCE: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="A request that is sent twice with the same key is made once.",
)
IF_MATCH: Final = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The ETag that the change is made to."
)
REQUEST_ID: Final = {
    "description": "The id of this request, for support.",
    "required": True,
    "schema": {"type": "string", "pattern": "^req_[0-9a-hjkmnp-tv-z]{26}$"},
}


MARK: Final = "x-spec-enum-id"
HEADERS: Final = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
REFUSALS: Final = (400, 401, 402, 403, 404, 408, 409, 413, 415, 429, 500, 503)


class ErrorBodySerializer(serializers.Serializer[Any]):
    """What is under ``error``."""

    type = serializers.ChoiceField(choices=sorted(set(TYPES.values())))
    message = serializers.CharField()
    code = serializers.ChoiceField(choices=sorted(TYPES))
    param = serializers.CharField(allow_null=True, help_text="The first field that is wrong.")
    reason = serializers.ChoiceField(choices=list(REASON_LIST))
    fields_ = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="Every field that is wrong."
    )

    def get_fields(self) -> dict[str, Any]:
        """The fields; one has the name of this method's own business."""
        found = super().get_fields()
        found["fields"] = found.pop("fields_")
        return found


class ErrorSerializer(serializers.Serializer[Any]):
    """Every error."""

    error = ErrorBodySerializer()


class Schema(AutoSchema):
    """Says of an endpoint what was declared of it."""

    @property
    def declared(self) -> Operation:
        """The operation of the method that is described."""
        found: Operation = self._handler.operation
        return found

    @property
    def _handler(self) -> Any:
        return getattr(self.view, self.method.lower())

    def get_operation_id(self) -> str:
        """The name, which generated clients call a method by."""
        return self.declared.name

    def get_summary(self) -> str | None:
        """The first line of what the method says of itself."""
        return (self._handler.__doc__ or "").strip().partition("\n")[0] or None

    def get_description(self) -> str:  # type: ignore[override]  # as the base class has it
        """Who may call it."""
        access = self.declared.access
        if not access.keys:
            return "For a person who is signed in; no key may call it."
        if access.scope is None:
            return (
                "For every member and every key of the workspace."
                if access.workspace
                else ("For whoever is signed in and every key.")
            )
        people = " People see and change what is theirs without it." if access.people else ""
        return f"Needs `{access.scope}`.{people}"

    def get_tags(self) -> list[str]:
        """The first part of the path."""
        return [self.path.removeprefix("/api/v1/").partition("/")[0]]

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Nothing of its own: the same everywhere."""
        return []

    def get_override_parameters(self) -> list[Any]:
        """The query and the headers."""
        declared = self.declared
        found: list[Any] = [declared.query] if declared.query is not Nothing else []
        if declared.access.workspace and declared.place is None:
            found.append(WORKSPACE)
        if declared.once:
            found.append(ONCE)
        if "version" in declared.body().fields:
            found.append(IF_MATCH)
        return found

    def get_request_serializer(self) -> Any:
        """The body, where there is one."""
        body = self.declared.body
        return None if self.method in SAFE or body is Nothing else body

    def get_response_serializers(self) -> Any:
        """The answer, and how it can be refused."""
        declared = self.declared
        answers: dict[Any, Any] = {declared.status: self._answer()}
        if declared.file:
            answers = {(declared.status, "text/csv"): str}
        elif declared.paged:
            answers[200, "text/csv"] = str
        return answers | {status: OpenApiResponse(ErrorSerializer) for status in self._refusals()}

    def _answer(self) -> Any:
        declared = self.declared
        if declared.answer is None:
            return OpenApiResponse(description="Done.")
        if not declared.paged:
            return declared.answer
        name = declared.answer.__name__.removesuffix("Serializer")
        fields = {
            "data": declared.answer(many=True),
            "has_more": serializers.BooleanField(),
            "next_cursor": serializers.CharField(allow_null=True),
        }
        return inline_serializer(f"{name}Page", fields=fields)

    def _refusals(self) -> list[int]:
        found = {400, 401, 403, 500, 503}
        if "{" in self.path:
            found.add(404)
        if self.method not in SAFE:
            found |= {404, 408, 409, 413, 415, 429}
        if self.declared.once:
            found.add(402)
        return sorted(found)


def text() -> str:
    """The document as it is committed.

    :raises ValueError: something of the API could not be described
    """
    make: Any = SchemaGenerator
    found = make().get_schema(request=None, public=True)
    if GENERATOR_STATS:
        raise ValueError("Some endpoint is not described; manage.py spectacular says which.")
    return json.dumps(_without_marks(found), indent=2, ensure_ascii=False) + "\n"


def _without_marks(part: Any) -> Any:
    """The document without drf-spectacular's own marks."""
    if isinstance(part, dict):
        return {name: _without_marks(each) for name, each in part.items() if name != MARK}
    return [_without_marks(each) for each in part] if isinstance(part, list) else part


def finish(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Add what is the same everywhere, and close the bodies of requests."""
    result["info"]["description"] = ABOUT
    result["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    result["servers"] = [{"url": "/"}]
    result["security"] = [{"bearer": []}, {"key": []}, {"session": []}]
    components = result["components"]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
    }
    components["headers"] = {"x-request-id": REQUEST_ID}
    components["responses"] = {TYPES[status]: _refusal(status) for status in REFUSALS}
    for item in result["paths"].values():
        for described in item.values():
            _finish(described, components["schemas"])
    return result


def _refusal(status: int) -> dict[str, Any]:
    reasons = [name for name, each in REASON_LIST.items() if status in (each.status, *each.also)]
    return {
        "description": "`reason` is one of: " + ", ".join(f"`{name}`" for name in reasons) + ".",
        "headers": HEADERS,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _finish(described: dict[str, Any], schemas: dict[str, Any]) -> None:
    for status, answer in described["responses"].items():
        if int(status) in REFUSALS:
            answer.clear()
            answer["$ref"] = f"#/components/responses/{TYPES[int(status)]}"
        else:
            answer["headers"] = HEADERS
            answer["description"] = answer["description"] or "Done."
    for content in described.get("requestBody", {}).get("content", {}).values():
        _close(content["schema"], schemas)


def _close(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    named = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    named["additionalProperties"] = False
    for field in named.get("properties", {}).values():
        if "$ref" in field:
            _close(field, schemas)


__all__ = ["Schema", "finish", "text"]
