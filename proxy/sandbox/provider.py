"""The sandbox's routes: chats, vectors, pictures, its models, the lookup of generations."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from proxy.sandbox import images, vectors, wire
from proxy.sandbox.calls import Call, CallLog
from proxy.sandbox.generation import Generation, prompt_tokens, refusal
from proxy.sandbox.results import Results
from proxy.sandbox.wire import Refusal

Endpoint = Callable[[Request], Awaitable[Response | ASGIApp]]
MODELS = (*wire.CHAT_MODELS, vectors.SLUG, images.SLUG)
REQUEST_ID_HEADER = "x-request-id"
COSTS_PAGE = 1000


class Sandbox:
    """The state behind the routes."""

    def __init__(self, *, token: str, log: CallLog, lookup: bool) -> None:
        self._token = token
        self._log = log
        self._lookup = lookup

    def authorise(self, request: Request) -> None:
        """
        Demand the bearer token.

        :raises Refusal: 401
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not right:
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    async def chat(self, request: Request) -> ASGIApp:
        """Answer POST /v1/chat/completions."""
        chat = wire.parse_chat(await request.body())
        call = self._begin(request, chat.model, prompt_tokens(chat), chat.sandbox)
        return Generation(request=chat, call=call, log=self._log)

    async def embeddings(self, request: Request) -> ASGIApp:
        """Answer POST /v1/embeddings."""
        asked = wire.parsed(await request.body(), vectors.VectorsRequest)
        wire.check_model(asked.model, (vectors.SLUG,))
        call = self._begin(request, asked.model, vectors.prompt_tokens(asked), asked.sandbox)
        return Results(knobs=asked.sandbox, call=call, log=self._log, body=vectors.body(asked))

    async def images(self, request: Request) -> ASGIApp:
        """Answer POST /v1/images/generations."""
        asked = wire.parsed(await request.body(), images.ImagesRequest)
        wire.check_model(asked.model, (images.SLUG,))
        call = self._begin(request, asked.model, images.prompt_tokens(asked), asked.sandbox)
        if asked.stream:
            events = images.events(asked)
            return Results(knobs=asked.sandbox, call=call, log=self._log, events=events)
        return Results(knobs=asked.sandbox, call=call, log=self._log, body=images.body(asked))

    def _begin(
        self, request: Request, model: str, prompt_tokens: int, knobs: wire.Knobs | None
    ) -> Call:
        """
        Log a call that begins.

        :raises Refusal: the caller asked for one
        """
        request_id = request.headers.get(REQUEST_ID_HEADER) or f"none-{secrets.token_hex(12)}"
        if knobs and knobs.fail in ("429", "500") and not knobs.after_chunks:
            # Refused before any work: nothing was read, so nothing is counted.
            call = self._log.start(request_id=request_id, model=model, prompt_tokens=0)
            self._log.end(call, finished=False)
            raise refusal(knobs.fail)
        return self._log.start(request_id=request_id, model=model, prompt_tokens=prompt_tokens)

    async def models(self, request: Request) -> Response:
        """Answer GET /v1/models."""
        entries = [
            {"id": slug, "object": "model", "created": wire.CREATED, "owned_by": "sandbox"}
            for slug in MODELS
        ]
        return _json(200, {"object": "list", "data": entries})

    async def generation(self, request: Request) -> Response:
        """Answer GET /generation?id= with what was really generated so far."""
        if not self._lookup:
            raise Refusal(501, "The generation lookup is disabled.", code="disabled")
        call = self._log.find(request.query_params.get("id", ""))
        if call is None:
            raise Refusal(404, "No generation has this id.", param="id", code="not_found")
        return _json(200, {"data": _generation(call)})

    async def costs(self, request: Request) -> Response:
        """Answer GET /costs?day= with the calls of a day, in pages."""
        try:
            day = date.fromisoformat(request.query_params.get("day", ""))
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            message = "day is a date, e.g. 2026-11-21; after is what `next` said."
            raise Refusal(400, message, param="day") from None
        calls = self._log.of_day(day)
        shown = calls[max(after, 0) : max(after, 0) + COSTS_PAGE]
        end = max(after, 0) + len(shown)
        more = str(end) if end < len(calls) else None
        return _json(200, {"data": [_cost(call) for call in shown], "next": more})


def build(*, token: str, log_path: Path | None = None, lookup: bool = True) -> Starlette:
    """Return the application; ``token`` is the bearer it demands."""
    log = CallLog(log_path)
    sandbox = Sandbox(token=token, log=log, lookup=lookup)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        log.close()

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/v1/chat/completions", _guarded(sandbox, sandbox.chat), methods=["POST"]),
            Route("/v1/embeddings", _guarded(sandbox, sandbox.embeddings), methods=["POST"]),
            Route("/v1/images/generations", _guarded(sandbox, sandbox.images), methods=["POST"]),
            Route("/v1/models", _guarded(sandbox, sandbox.models)),
            Route("/generation", _guarded(sandbox, sandbox.generation)),
            Route("/v1/costs", _guarded(sandbox, sandbox.costs)),
            Route("/costs", _guarded(sandbox, sandbox.costs)),
            Route("/v1/generation", _guarded(sandbox, sandbox.generation)),
        ],
    )


def _guarded(sandbox: Sandbox, endpoint: Endpoint) -> Callable[[Request], Awaitable[ASGIApp]]:
    async def guarded(request: Request) -> ASGIApp:
        try:
            sandbox.authorise(request)
            return await endpoint(request)
        except Refusal as error:
            return _json(error.status, error.body())
        except ClientDisconnect:
            return Response(status_code=400)

    return guarded


def _json(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _generation(call: Call) -> dict[str, object]:
    return {
        "id": call.request_id,
        "model": call.model,
        "tokens_prompt": call.prompt_tokens,
        "tokens_completion": call.completion_tokens,
        "finished": call.finished,
        "cancelled": call.ended and not call.finished,
    }


def _cost(call: Call) -> dict[str, object]:
    return {
        "request_id": call.request_id,
        "model": call.model,
        "tokens_prompt": call.prompt_tokens,
        "tokens_completion": call.completion_tokens,
        "finished": call.finished,
    }
