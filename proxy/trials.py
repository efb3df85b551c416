"""
Trying a provider out: one tiny real call through its own adapter, with the key that it has.

It is written down before it is made, so that it is made once and never forgotten; what it cost
is the platform's. It goes where the catalogue says and nowhere else: no redirect is followed, no
proxy of the environment is used, and nothing is sent to addresses of the machine's own cloud,
which is judged of the address that is connected to (``common.outbound``).
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import httpcore
import httpx
import structlog
from django.utils import timezone

from accounts import audit
from accounts.actors import Staff
from accounts.errors import Invalid
from billing import prices, pricing
from billing.models import Price
from billing.pricing import Rates, Tokens
from common import ids, outbound
from common.crypto import UnreadableSecret
from common.outbound import Bounds, Late, NoAddress, OutboundError, Resolve, Unsent, look_up
from proxy import upstreams
from proxy.models import Model, Provider, Route, Trial
from proxy.upstreams import trouble
from proxy.upstreams.base import Target, UpstreamTrouble
from proxy.wire import chat, embeddings
from proxy.wire.answers import Completion, Garbage
from proxy.wire.call import Call

log = structlog.get_logger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
WORDS: Final = "Say OK."
MOST_TOKENS: Final = 16
BOUNDS: Final = Bounds(connect_s=5.0, deadline_s=30.0, most_bytes=1024 * 1024)
PAUSE: Final = timedelta(seconds=10)
KINDS: Final = (Model.Kind.CHAT, Model.Kind.EMBEDDING)
# Where clouds give credentials to whoever asks from inside.
METADATA: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "168.63.129.16/32",
                 "100.100.100.200/32")
)  # fmt: skip
# Networks whose addresses end with one of IPv4: NAT64, IPv4-compatible.
CARRYING: Final = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::/96"))


def refusal(provider: Provider) -> str:
    """Why a provider cannot be tried now; empty where it can."""
    if route_of(provider) is None:
        return "It serves no model of words: a picture would cost too much for a trial."
    recent = provider.trials.filter(at__gt=timezone.now() - PAUSE)
    return "It was tried a moment ago." if recent.exists() else ""


def route_of(provider: Provider) -> Route | None:
    """The route of a trial: chat before vectors, the provider's cheapest for us."""
    routes = provider.routes.filter(enabled=True, model__kind__in=KINDS)
    found = list(routes.select_related("model", "provider"))
    return min(found, key=_dear, default=None)


def _dear(route: Route) -> tuple[bool, int, int]:
    rates = _rates(route) or Rates()
    return route.model.kind != Model.Kind.CHAT, rates.prompt + rates.completion, route.pk


def _rates(route: Route) -> Rates | None:
    cost = prices.rates_at(subject=route.subject, role=Price.Role.COST, now=timezone.now())
    return cost.rates if cost else None


def begin(*, provider: Provider, reason: str, by: Staff, token: UUID) -> Trial:
    """
    Write a trial down, inside a transaction of the caller's.

    :raises accounts.errors.Invalid: it cannot be tried
    """
    Provider.objects.select_for_update(no_key=True).get(pk=provider.pk)
    route = route_of(provider)
    if (why := refusal(provider)) or route is None:
        raise Invalid(why)
    trial = Trial.objects.create(
        id=ids.request_id(),
        token=token,
        provider=provider,
        route_id=route.pk,
        upstream_model=route.upstream_model,
        reason=reason,
        created_by=by.user,
    )
    audit.record(
        action="provider.tried",
        by=by,
        target=audit.Target(provider.slug, route.upstream_model),
        workspaces=[None],
        after={"request_id": ids.form("req_", trial.id), "reason": reason},
    )
    return trial


def make(*, token: UUID, resolve: Resolve = look_up) -> Trial:
    """Make the call of a trial that was written down, with no transaction open."""
    trial = Trial.objects.select_related("provider").get(token=token)
    route = Route.objects.select_related("model", "provider").get(pk=trial.route_id)
    call, rates = _call(route.model), _rates(route)
    began = time.perf_counter()
    try:
        found = _known(call, rates, _answered(route, call, trial, resolve))
    except UpstreamTrouble as error:
        found = _failed(call, rates, error)
    except Exception:
        # Whatever it was, the trial is over, and what it may have cost is counted.
        log.exception("A trial broke off", provider=route.provider.slug)
        found = _failed(call, rates, trouble.garbage())
    found["latency_ms"] = int((time.perf_counter() - began) * 1000)
    Trial.objects.filter(pk=trial.pk).update(**found)
    trial.refresh_from_db()
    return trial


def _call(model: Model) -> Call:
    if model.kind == Model.Kind.EMBEDDING:
        return embeddings.parse(b'{"model": "trial", "input": "OK"}')
    messages = [{"role": "user", "content": WORDS}]
    return chat.checked({"model": "trial", "messages": messages, "max_tokens": MOST_TOKENS})


def _answered(route: Route, call: Call, trial: Trial, resolve: Resolve) -> Completion:
    """
    Get a whole answer.

    :raises UpstreamTrouble: there is none
    """
    provider = route.provider
    try:
        key = provider.api_key()
    except UnreadableSecret:
        raise _trouble("sealed_key", "ENCRYPTION_KEY does not open its API key.") from None
    target = Target(
        base_url=provider.base_url.rstrip("/"),
        api_key=key,
        upstream_model=route.upstream_model,
        limit_name=route.model.output_limit,
        kind=provider.kind,
        request_id=ids.form("req_", trial.id),
        max_output_tokens=route.model.max_output_tokens,
        drop=frozenset(route.model.unsupported),
    )
    adapter = upstreams.of(provider.kind)
    status, body = _sent(adapter.request(target=target, call=call), resolve)
    if status != 200:
        raise adapter.refusal(status, body)
    try:
        answer = adapter.completion(body)
    except Garbage:
        raise trouble.garbage() from None
    if answer.error is not None:
        raise trouble.error_in_body(answer.error)
    return answer


def _sent(request: httpx.Request, resolve: Resolve) -> tuple[int, bytes]:
    """
    Send a request to where it may go; return status and body.

    :raises UpstreamTrouble: no whole answer came
    """
    url = request.url
    try:
        answer = outbound.exchange(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            body=request.content,
            judge=outside,
            bounds=BOUNDS,
            resolve=resolve,
            trust=ssl.create_default_context(),
        )
    except OutboundError as error:
        raise _unanswered(error) from error
    if len(answer.body) > BOUNDS.most_bytes:
        raise trouble.garbage()
    return answer.status, answer.body


def _unanswered(error: OutboundError) -> UpstreamTrouble:
    if isinstance(error, NoAddress):
        return _trouble("no_address", "The name of its address leads nowhere.")
    if isinstance(error, Unsent):
        return _trouble("connect_failed", f"The provider could not be reached. {error}")
    late = isinstance(error, Late)
    return trouble.unreachable(httpx.ReadTimeout("") if late else httpx.ReadError(""))


def outside(found: Iterable[str]) -> list[str]:
    """
    The addresses of a provider, if none is that of a cloud's own service.

    :raises UpstreamTrouble: one is, or there is none
    """
    addresses = [ipaddress.ip_address(text) for text in found]
    if not addresses:
        raise _trouble("no_address", "The name of its address leads nowhere.")
    if any(_is_metadata(each) for each in addresses):
        raise _trouble("forbidden_address", "Its address is that of a cloud's own service.")
    return [str(each) for each in addresses]


def _is_metadata(address: Address) -> bool:
    return any(each in network for each in (address, _carried(address)) for network in METADATA)


def _carried(address: Address) -> Address:
    """The IPv4 address inside of one of IPv6, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and any(address in network for network in CARRYING):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _trouble(outcome: str, message: str) -> UpstreamTrouble:
    return UpstreamTrouble(outcome, reason="upstream_failed", message=message, fallback=False)


def _known(call: Call, rates: Rates | None, answer: Completion) -> dict[str, Any]:
    usage = answer.usage
    tokens = Tokens()
    if usage is not None:
        tokens = Tokens(
            input=usage.input,
            cached=usage.cached,
            cache_write=usage.cache_write,
            output=usage.output,
        )
    exact = usage is not None and rates is not None
    return {
        "outcome": Trial.Outcome.ANSWERED,
        "status": 200,
        "upstream_id": answer.upstream_id,
        "input_tokens": tokens.input + tokens.cached + tokens.cache_write,
        "output_tokens": tokens.output,
        "cost_nanos": pricing.cost_nanos(rates=rates or Rates(), tokens=tokens)
        if exact
        else _worst(call, rates),
        "estimate": not exact,
    }


def _failed(call: Call, rates: Rates | None, error: UpstreamTrouble) -> dict[str, Any]:
    # What may have been done all the same may be billed.
    return {
        "outcome": Trial.Outcome.FAILED,
        "status": error.status,
        "problem": f"{error.outcome}: {error.message}"[:200],
        "cost_nanos": _worst(call, rates) if error.ambiguous else 0,
        "estimate": error.ambiguous,
    }


def _worst(call: Call, rates: Rates | None) -> int:
    return pricing.worst_nanos(
        rates=rates or Rates(),
        prompt_tokens=call.prompt_bytes + MOST_TOKENS,
        output_tokens=call.output_limit or 0,
    )
