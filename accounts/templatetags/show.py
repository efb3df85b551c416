"""How values look on pages: exact money, UTC times, counts."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template

from common import money

register = template.Library()


@register.filter
def usd(nanos: int) -> str:
    """Dollars with two decimals and thousands apart, for balances and caps."""
    return grouped(money.usd(nanos, digits=2))


@register.filter
def exact_usd(nanos: int) -> str:
    """Dollars to the last nano-dollar, at least six decimals, for single requests."""
    return money.usd(nanos, at_least=6)


@register.filter
def grouped(number: int | str) -> str:
    """A whole or decimal number with its thousands apart."""
    whole, point, part = str(number).partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{part}"


@register.filter
def utc(moment: datetime) -> str:
    """A time on the clock of Greenwich, whatever the server's own zone is."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


@register.filter
def iso(moment: datetime) -> str:
    """A time for machines, in a <time> element."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@register.filter
def percent(share: float) -> str:
    """A share between 0 and 1 as a percentage with one decimal."""
    return f"{share * 100:.1f} %"
