"""
What every endpoint of the management API shares: JSON in, one error shape out.

Serializers refuse what they do not know, and name it: nothing is assigned that was not meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from django.http import Http404
from drf_spectacular.utils import extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from common import money
from common.errors import ApiError, retry_headers

log = structlog.get_logger(__name__)

LARGEST_BODY: Final = 1024 * 1024
UNKNOWN: Final = "unknown"


class JsonParser(BaseParser):
    """One JSON object, of a bounded size and depth."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """
        Read the body.

        :raises ApiError: 400 no JSON object, 413 too large
        """
        text: bytes = stream.read(LARGEST_BODY + 1)
        if len(text) > LARGEST_BODY:
            raise ApiError("invalid_parameter", "The request body is larger than 1 MB.", status=413)
        try:
            found = msgspec.json.decode(text or b"{}")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise ApiError("invalid_json", "The body is not valid JSON.") from None
        if not isinstance(found, dict):
            raise ApiError("invalid_json", "The body is not a JSON object.")
        return found


class OnlyJson(BaseContentNegotiation):
    """Answers are JSON whatever is accepted; CSV twins are asked for by name."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Take the parser of the body's type; a body without a type is taken for JSON."""
        given = (request.content_type or "").partition(";")[0].strip().lower()
        return next((each for each in parsers if given in ("", each.media_type)), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Take JSON."""
        return JSONRenderer(), "application/json"


class Strict(serializers.Serializer[Any]):
    """A body or a query: what it does not know is refused by name."""

    def to_internal_value(self, data: Any) -> Any:
        """
        Read the fields.

        :raises ValidationError: with one message for each field that is wrong or unknown
        """
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)
        writable = {name for name, field in self.fields.items() if not field.read_only}
        wrong: dict[str, Any] = {
            name: [exceptions.ErrorDetail("This field is not accepted here.", code=UNKNOWN)]
            for name in data
            if name not in writable
        }
        try:
            value = super().to_internal_value(data)
        except exceptions.ValidationError as error:
            raise exceptions.ValidationError(_named(error.detail) | wrong) from None
        if wrong:
            raise exceptions.ValidationError(wrong)
        return value


def _named(detail: Any) -> dict[str, Any]:
    return dict(detail) if isinstance(detail, Mapping) else {"body": detail}


class Nothing(Strict):
    """A body without any field."""


@extend_schema_field(
    {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "examples": ["2.50"]}
)
class UsdField(serializers.Field[int, str, str, Any]):
    """US dollars as an exact decimal string; nano-dollars inside."""

    default_error_messages = {
        "invalid": "Write US dollars as a string with at most nine decimals, e.g. '2.50'.",
        "negative": "This may not be negative.",
    }

    def __init__(self, *, at_least: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.at_least = at_least

    def to_internal_value(self, data: Any) -> int:
        """Read nano-dollars."""
        if not isinstance(data, str) or not data.isascii() or "e" in data.lower():
            self.fail("invalid")
        try:
            nanos = money.nanos_from_usd(data)
        except ValueError:
            self.fail("invalid")
        if nanos < 0:
            self.fail("negative")
        return nanos

    def to_representation(self, value: int) -> str:
        """Write it exactly."""
        return money.usd(value, at_least=self.at_least)


def answer(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return what is answered to any failure, in the one error shape."""
    refusal = refusal_of(error)
    if refusal.status == 400 and refusal.param is not None:
        refusal.extra.setdefault("fields", {refusal.param: refusal.message})
    if refusal.status >= 500:
        log.exception("The management API failed", error=type(error).__name__)
    return Response({"error": refusal.error()}, status=refusal.status, headers=refusal.headers)


def refusal_of(error: Exception) -> ApiError:
    """Say a failure in the one error shape."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    if isinstance(error, exceptions.MethodNotAllowed):
        return ApiError("unsupported_endpoint", str(error.detail), status=405)
    if isinstance(error, exceptions.UnsupportedMediaType):
        return ApiError("invalid_parameter", "Send the body as application/json.", status=415)
    if isinstance(error, exceptions.ParseError):
        return ApiError("invalid_json", "The body is not valid JSON.")
    if isinstance(error, Http404 | exceptions.NotFound):
        return ApiError("not_found", "There is nothing of that id here.")
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return ApiError("scope_missing", str(error) or "You may not do this.")
    if isinstance(error, InterfaceError | DatabaseError) and _is_away(error):
        return ApiError(
            "store_unavailable",
            "The service cannot reach its database right now. Please retry.",
            headers=retry_headers(after_ms=1000),
        )
    return ApiError("internal", "Something went wrong on our side.")


def _is_away(error: Exception) -> bool:
    # Class 08: the connection; 57: the server shuts down or cancelled; none: never connected.
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return not state or state.startswith(("08", "57"))


def _invalid(error: exceptions.ValidationError) -> ApiError:
    fields, codes = _flat(error.detail)
    param, message = next(iter(fields.items()))
    unknown = codes[param] == UNKNOWN
    return ApiError(
        "unsupported_parameter" if unknown else "invalid_parameter",
        f"{param}: {message}",
        param=param,
        fields=fields,
    )


def _flat(detail: Any, path: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Return messages and codes by the path of the field: ``limits.rpm``, ``scopes.0``."""
    if isinstance(detail, Mapping):
        parts = [
            _flat(each, f"{path}.{name}" if path else str(name)) for name, each in detail.items()
        ]
    elif isinstance(detail, list) and any(isinstance(each, Mapping | list) for each in detail):
        parts = [_flat(each, f"{path}.{n}") for n, each in enumerate(detail) if each]
    else:
        first = detail[0] if isinstance(detail, list) else detail
        return {path or "body": str(first)}, {path or "body": getattr(first, "code", "")}
    messages: dict[str, str] = {}
    codes: dict[str, str] = {}
    for texts, kinds in parts:
        messages |= texts
        codes |= kinds
    return messages, codes
