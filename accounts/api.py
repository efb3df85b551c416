"""
What every endpoint of the management API is made of.

An endpoint is a class whose methods are decorated with ``operation``: who may call it, what it
takes, what it answers. A method without the decorator is refused at start-up (config.policies)
and, should it be reached, at run time. Changes run in one transaction with their audit events
and, where the request has an ``Idempotency-Key``, with the answer that is given again. What asks
another service opens its own transactions: none is open while somebody else is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone, translation
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import callers, once
from accounts.api_csv import csv_response
from accounts.callers import Access, Caller
from accounts.models import KeptAnswer, Workspace
from accounts.scopes import Scope
from common import pagination
from common.api import Nothing, Strict, UsdField
from common.errors import ApiError, bad_parameter
from common.pagination import Page, Position, Wanted

__all__ = [
    "MEMBER",
    "PERSON",
    "SIGNED_IN",
    "Access",
    "Call",
    "Endpoint",
    "Listing",
    "Operation",
    "Page",
    "Strict",
    "UsdField",
    "VersionField",
    "needs",
    "operation",
]

SAFE: Final = ("GET", "HEAD")
MEMBER: Final = Access()
SIGNED_IN: Final = Access(workspace=False)
PERSON: Final = Access(workspace=False, keys=False)
Serializer = type[serializers.Serializer[Any]]


def needs(scope: Scope, *, people: bool = False, workspace: bool = True) -> Access:
    """An endpoint for keys with this scope and for people whose role includes it."""
    return Access(scope=scope, people=people, workspace=workspace)


class Listing(Strict):
    """What every list takes."""

    limit = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=pagination.LARGEST_LIMIT,
        default=pagination.DEFAULT_LIMIT,
        help_text="How many rows a page has.",
    )
    cursor = serializers.CharField(
        required=False, max_length=2000, help_text="`next_cursor` of the page before."
    )
    format = serializers.ChoiceField(
        choices=["json", "csv"],
        required=False,
        default="json",
        help_text="`csv` answers everything that the filter finds, not one page.",
    )


class VersionField(serializers.CharField):
    """The version a change is made to."""

    def __init__(self, **kwargs: Any) -> None:
        about = "The `version` you read; if there is another by now the answer is a 409."
        given: dict[str, Any] = {"required": False, "max_length": 64, "help_text": about} | kwargs
        super().__init__(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is declared of one method of one endpoint."""

    name: str
    access: Access
    answer: Serializer | None
    body: Serializer
    query: Serializer
    paged: bool
    status: int
    once: bool
    place: str | None
    file: bool
    outside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted and validated request."""

    caller: Caller
    body: Mapping[str, Any]
    query: Mapping[str, Any]
    page: Wanted
    request: HttpRequest

    @property
    def by(self) -> Any:
        """Whoever acts."""
        return self.caller.by

    @property
    def workspace(self) -> Workspace:
        """
        The workspace that is acted in.

        :raises RuntimeError: the endpoint is declared to be in none
        """
        if self.caller.workspace is None:
            raise RuntimeError("This endpoint is in no workspace.")
        return self.caller.workspace

    @property
    def version(self) -> str | None:
        """The version that a change is to be made to, in the body or in If-Match."""
        header = self.request.META.get("HTTP_IF_MATCH", "").strip().removeprefix("W/")
        named = header.strip('"') if header not in ("", "*") else None
        given: str | None = self.body.get("version")
        if named is not None and given is not None and named != given:
            raise bad_parameter("If-Match and version name different versions.", param="version")
        return given or named


class Endpoint(APIView):
    """One address of the management API."""

    authentication_classes = ()
    permission_classes = ()

    # OPTIONS would describe the endpoint to strangers.
    http_method_names = ["get", "head", "post", "patch", "put", "delete"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer, and keep the answer out of every cache."""
        # Errors are English whatever the browser asks for: programs read them too.
        with translation.override("en"):
            response = super().dispatch(request, *args, **kwargs)
        response.setdefault("Cache-Control", "no-store")
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """
        Refuse a method that nobody declared who may call it.

        :raises RuntimeError: it has no operation
        """
        name = (request.method or "").lower()
        handler = self.http_method_not_allowed
        if name in self.http_method_names:
            handler = getattr(self, name, handler)
        if handler != self.http_method_not_allowed and not hasattr(handler, "operation"):
            raise RuntimeError(f"{type(self).__name__} has a method without a policy.")


Handler = Callable[..., Any]


def operation(
    *,
    name: str,
    access: Access,
    answer: Serializer | None = None,
    body: Serializer = Nothing,
    query: Serializer | None = None,
    paged: bool = False,
    status: int = 200,
    once: bool = False,
    place: str | None = None,
    file: bool = False,
    outside: bool = False,
) -> Callable[[Handler], Handler]:
    """
    Declare a method: its name in OpenAPI, who may call it, what it takes and answers.

    ``once``: it takes an Idempotency-Key. ``place``: the argument of the address that names the
    workspace. ``file``: the answer is CSV. ``outside``: it asks another service, so no transaction
    is around it. A paged method returns a Page, others what the serializer of the answer writes,
    or a whole response.

    :raises ValueError: it is to be made once, and has no transaction to write that down in
    """
    if once and outside:
        raise ValueError(f"{name}: what is made once is made in one transaction.")
    declared = Operation(
        name=name,
        access=access,
        answer=answer,
        body=body,
        query=query or (Listing if paged else Nothing),
        paged=paged,
        status=status,
        once=once,
        place=place,
        file=file,
        outside=outside,
    )

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def answered(view: Endpoint, request: Request, **path: str) -> HttpResponseBase:
            return _run(declared, handler, view, request, path)

        answered.operation = declared  # type: ignore[attr-defined]  # read by policies and OpenAPI
        return answered

    return decorate


def _run(
    declared: Operation, handler: Handler, view: Endpoint, request: Request, path: dict[str, str]
) -> HttpResponseBase:
    if any("\0" in text for text in path.values()):
        raise ApiError("not_found", "There is nothing of that id here.")
    django_request = request._request
    place = path.get(declared.place) if declared.place else None
    caller = callers.admit(django_request, access=declared.access, place=place)
    changes = django_request.method not in SAFE
    if changes and not callers.brings_key(django_request):
        _check_csrf(django_request)
    call = _call(declared, caller, request)

    def act(call: Call) -> Any:
        return handler(view, call, **path)

    if changes and not declared.outside:
        return _change(declared, call, act)
    if declared.paged and call.query["format"] == "csv":
        return csv_response(declared.name, _rows(declared), call, act)
    answered: HttpResponseBase = _respond(declared, act(call))
    return answered


def _check_csrf(request: HttpRequest) -> None:
    refused = _CsrfCheck(lambda _request: None).check(request)  # type: ignore[arg-type]  # never called on
    if refused:
        raise ApiError("scope_missing", f"CSRF: {refused} Reload the page, or use an API key.")


class _CsrfCheck(CsrfViewMiddleware):
    """Asks Django's own check for its reason instead of its page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason

    def check(self, request: HttpRequest) -> Any:
        """The reason for a refusal, or None."""
        self.process_request(request)
        return self.process_view(request, lambda _request: HttpResponse(), (), {})


def _call(declared: Operation, caller: Caller, request: Request) -> Call:
    query = _validated(declared.query, {name: values[-1] for name, values in request.GET.lists()})
    unsafe = request.method not in SAFE
    body = _validated(declared.body, request.data) if unsafe else {}
    cursor = query.get("cursor") if declared.paged else None
    after: Position | None = pagination.unseal(declared.name, cursor) if cursor else None
    page = Wanted(limit=query.get("limit", pagination.DEFAULT_LIMIT), after=after)
    return Call(caller=caller, body=body, query=query, page=page, request=request._request)


def _validated(serializer: Serializer, given: Any) -> Mapping[str, Any]:
    bound = serializer(data=given)
    bound.is_valid(raise_exception=True)
    found: Mapping[str, Any] = bound.validated_data
    return found


@transaction.atomic
def _change(declared: Operation, call: Call, act: Callable[[Call], Any]) -> HttpResponseBase:
    word = call.request.META.get("HTTP_IDEMPOTENCY_KEY")
    if not declared.once or word is None:
        answered: HttpResponseBase = _respond(declared, act(call))
        return answered
    said = msgspec.json.encode([call.request.path, dict(call.body)], enc_hook=str)
    sent = once.Sent(call.caller.name, declared.name, word, said)
    kept = once.begin(sent, now=timezone.now())
    if isinstance(kept, once.Answer):
        shown = msgspec.json.decode(kept.body)
        headers = {"idempotent-replayed": "true"} | _etag(shown)
        return Response(shown, status=kept.status, headers=headers)
    return _keep(kept, _respond(declared, act(call)))


def _keep(kept: KeptAnswer, response: Response) -> Response:
    once.finish(kept, once.Answer(response.status_code, msgspec.json.encode(response.data)))
    return response


def _respond(declared: Operation, found: Any) -> Any:
    if isinstance(found, HttpResponseBase):
        return found
    if declared.answer is None:
        return Response(status=declared.status)
    if declared.paged:
        return Response(_page(declared, found))
    shown = declared.answer(found).data
    return Response(shown, status=declared.status, headers=_etag(shown))


def _etag(shown: Mapping[str, Any]) -> dict[str, str]:
    return {"ETag": f'"{shown["version"]}"'} if shown.get("version") else {}


def _rows(declared: Operation) -> serializers.Serializer[Any]:
    if declared.answer is None:
        raise RuntimeError("A list has a serializer.")
    return declared.answer()


def _page(declared: Operation, page: Page) -> dict[str, Any]:
    shown = _rows(declared)
    cursor = None if page.next is None else pagination.seal(declared.name, page.next)
    return {
        "data": [shown.to_representation(row) for row in page.rows],
        "has_more": page.next is not None,
        "next_cursor": cursor,
    }
