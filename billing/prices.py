"""Price versions: append-only, each in force from its time until the next one's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import connection, transaction
from msgspec import Struct

from billing.models import Price
from billing.pricing import Rates


class PriceTaken(ValueError):
    """Another price of the same subject starts at exactly this time."""


class Version(Struct, frozen=True):
    """A price version and the id that goes on holds and receipts."""

    id: int
    rates: Rates
    effective_from: datetime


def version_of(row: Price) -> Version:
    """Read a price row."""
    rates = Rates(
        prompt=row.prompt,
        completion=row.completion,
        cached_prompt=row.cached_prompt,
        cache_write=row.cache_write,
        per_call=row.per_call,
        web_search=row.web_search,
        image=row.image,
    )
    return Version(row.pk, rates, row.effective_from)


def rates_at(*, subject: str, role: str, now: datetime) -> Version | None:
    """Return the version in force at a time; None where nothing is priced yet."""
    row = (
        Price.objects.filter(subject=subject, role=role, effective_from__lte=now)
        .order_by("-effective_from")
        .first()
    )
    return version_of(row) if row else None


def all_rates_at(
    *, now: datetime, subjects: Iterable[str] | None = None
) -> dict[tuple[str, str], Version]:
    """Return the versions in force at a time by (subject, role), of some or all subjects."""
    rows = Price.objects.filter(effective_from__lte=now)
    if subjects is not None:
        rows = rows.filter(subject__in=list(subjects))
    rows = rows.order_by("subject", "role", "-effective_from").distinct("subject", "role")
    return {(row.subject, row.role): version_of(row) for row in rows}


def next_change(*, after: datetime) -> datetime | None:
    """Return when the next scheduled version comes into force, if there is one."""
    rows = Price.objects.filter(effective_from__gt=after).order_by("effective_from")
    return rows.values_list("effective_from", flat=True).first()


def set_price(
    *, subject: str, role: str, rates: Rates, now: datetime, effective_from: datetime | None = None
) -> Price | None:
    """
    Add a version from now (or from a time), unless that price is in force then already.

    :raises PriceTaken: another price starts at exactly that time
    """
    start = effective_from or now
    with transaction.atomic():
        _lock_subject(subject=subject, role=role)
        current = rates_at(subject=subject, role=role, now=start)
        if current is not None and current.rates == rates:
            return None
        if current is not None and current.effective_from == start:
            raise PriceTaken(f"{subject} has another {role} price from {start.isoformat()} on.")
        return Price.objects.create(
            subject=subject,
            role=role,
            effective_from=start,
            prompt=rates.prompt,
            completion=rates.completion,
            cached_prompt=rates.cached_prompt,
            cache_write=rates.cache_write,
            per_call=rates.per_call,
            web_search=rates.web_search,
            image=rates.image,
        )


def _lock_subject(*, subject: str, role: str) -> None:
    """Let two operators who set one price at once go one after the other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"price {role} {subject}"]
        )
