"""What pages read about requests, keys and models; nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from accounts.templatetags.show import dollars, exact_usd, grouped
from billing.models import Usage
from billing.selectors import USD
from common import ids, money

DAYS_SEARCHED = 31


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request as a line of a table."""

    request_id: str
    created_at: datetime
    model: str
    served: str
    status: int | None
    failed: bool
    unknown: bool
    cancelled: bool
    reason: str
    tokens_in: int
    tokens_out: int
    latency_ms: int | None
    first_byte_ms: int | None
    provider: str
    price: str
    key_name: str


def last_requests(*, workspace_id: int, today: date, count: int = 10) -> list[RequestRow]:
    """The newest requests of one workspace, at most a month old."""
    rows = (
        Usage.objects.filter(
            workspace_id=workspace_id, day__gte=today - timedelta(days=DAYS_SEARCHED)
        )
        .select_related("key")
        .order_by("-id")[:count]
    )
    return request_rows(rows)


def first_request_id(*, workspace_id: int, today: date) -> str | None:
    """The newest answered request of a workspace in readable form; none yet is None."""
    found: UUID | None = (
        Usage.objects.filter(
            workspace_id=workspace_id,
            day__gte=today - timedelta(days=DAYS_SEARCHED),
            status__lt=400,
        )
        .order_by("-id")
        .values_list("id", flat=True)
        .first()
    )
    return ids.form("req_", found) if found else None


def price_text(*, amount: int, asset: str, digits: int = 6) -> str:
    """What was charged, exactly, with its currency."""
    if asset == USD:
        return dollars(exact_usd(amount, digits))
    return f"{grouped(amount)} {asset}"


def request_rows(usages: Iterable[Usage]) -> list[RequestRow]:
    """Closed requests as lines; all their prices have the decimals that the finest needs."""
    shown = list(usages)
    digits = money.decimals(usage.charged for usage in shown if usage.asset == USD)
    return [_row(usage, digits) for usage in shown]


def _row(usage: Usage, digits: int) -> RequestRow:
    return RequestRow(
        request_id=ids.form("req_", usage.id),
        created_at=usage.created_at,
        model=usage.model,
        served=usage.served,
        status=usage.status,
        failed=usage.status is None or usage.status >= 400,
        unknown=usage.unknown,
        cancelled=usage.cancelled,
        reason=usage.reason,
        tokens_in=usage.input_tokens + usage.cached_tokens + usage.cache_write_tokens,
        tokens_out=usage.output_tokens,
        latency_ms=usage.latency_ms,
        first_byte_ms=usage.first_byte_ms,
        provider=usage.provider,
        price=price_text(amount=usage.charged, asset=usage.asset, digits=digits),
        key_name=usage.key.name,
    )
