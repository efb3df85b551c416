"""
What coins are worth: asked of several markets, believed only where they agree and are fresh.

Quotes are asked for outside of any transaction and kept as rows; whoever converts reads a row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from statistics import median
from typing import Any, Final

import httpx
import structlog
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.chains import config
from billing.chains.config import Config, Market, Source, Token
from billing.conversions import Rate, unit_rate
from billing.models import Quote

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 10.0
MOST_BYTES: Final = 1_000_000
USD_DECIMALS: Final = 9
MILLION: Final = 1_000_000
PLACES: Final = Decimal("1e-12")
# Above this a price is nonsense, and does not fit where it is kept.
MOST_USD: Final = Decimal(10**15)
MILLISECONDS_FROM: Final = 10**11
# Arithmetic fails on a time that is null, or of no calendar.
NONSENSE: Final = (
    httpx.HTTPError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RecursionError,
)


class Unavailable(Exception):
    """There is no price that can be trusted now; nothing is converted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one market says."""

    source: str
    price: Decimal
    at: datetime


def refresh() -> dict[str, str]:
    """Ask all markets; keep a quote per coin that can be trusted. Return why others cannot."""
    found = config.current()
    troubles = {}
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
        for symbol, market in found.markets.items():
            told = _ask_all(client, found, symbol)
            try:
                quote = settle(symbol=symbol, market=market, told=told, now=timezone.now())
            except Unavailable as trouble:
                troubles[symbol] = str(trouble)
            else:
                _keep(quote)
    return troubles


def settle(*, symbol: str, market: Market, told: Sequence[Told], now: datetime) -> Quote:
    """
    Return the price that markets agree on: their median, of a stablecoin at most a dollar.

    :raises Unavailable: too few are fresh, they are too far apart, or a peg is lost
    """
    oldest = now - timedelta(seconds=market.max_age_s)
    # A clock that runs ahead would keep an old price fresh.
    newest = now + timedelta(seconds=market.max_age_s)
    fresh = [each for each in told if oldest <= each.at <= newest and each.price > 0]
    if len(fresh) < market.min_sources:
        raise Unavailable(f"{symbol}: {len(fresh)} fresh prices, {market.min_sources} needed")
    prices = [each.price for each in fresh]
    price = median(prices)
    allowed = price * market.max_off_ppm / MILLION
    if max(prices) - min(prices) > allowed:
        raise Unavailable(f"{symbol}: prices from {min(prices)} to {max(prices)} disagree")
    if market.stable:
        if price < 1 - Decimal(market.max_off_ppm) / MILLION:
            raise Unavailable(f"{symbol}: at {price} it has lost its peg")
        price = min(Decimal(1), price)
    names = ", ".join(each.source for each in fresh)
    return Quote(
        symbol=symbol,
        # Down: in favour of the house, and what is stored is what is used.
        price=price.quantize(PLACES, rounding="ROUND_DOWN"),
        source=f"median of {names}"[:200],
        at=min(each.at for each in fresh),
    )


def rate(*, token: Token, now: datetime) -> Rate:
    """
    Return what one of the ledger's units of a token is worth in nano-dollars.

    :raises Unavailable: the last quote is too old, or there is none
    """
    quote = Quote.objects.filter(symbol=token.symbol).first()
    market = config.current().markets[token.symbol]
    # A quote may be used as long after it was asked for as a market's word may be old.
    if quote is None or now - quote.at > timedelta(seconds=2 * market.max_age_s):
        words = _("%(coin)s has no fresh price now; it is asked for all the time.")
        raise Unavailable(words % {"coin": token.symbol})
    value: Fraction = unit_rate(
        price=quote.price, given_decimals=token.ledger_decimals, wanted_decimals=USD_DECIMALS
    )
    return Rate(value=value, source=quote.source, at=quote.at)


def _keep(quote: Quote) -> None:
    Quote.objects.update_or_create(
        symbol=quote.symbol,
        defaults={"price": quote.price, "source": quote.source, "at": quote.at},
    )


def _ask_all(client: httpx.Client, found: Config, symbol: str) -> list[Told]:
    told = []
    for source in found.sources:
        if source.symbol == symbol:
            try:
                told.append(_ask(client, source))
            except NONSENSE as error:
                log.warning("A market gave no price", source=source.name, error=str(error)[:200])
    return told


def _ask(client: httpx.Client, source: Source) -> Told:
    with client.stream("GET", source.url) as response:
        response.raise_for_status()
        raw = bytearray()
        for chunk in response.iter_bytes():
            raw += chunk
            if len(raw) > MOST_BYTES:
                raise ValueError("the answer is too long")
    # No float touches a price.
    answer = json.loads(bytes(raw), parse_float=Decimal)
    at = timezone.now() if source.at is None else _moment(_walk(answer, source.at))
    return Told(source=source.name, price=_price(_walk(answer, source.price)), at=at)


def _walk(answer: Any, path: str) -> Any:
    for step in path.split("."):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


def _price(word: Any) -> Decimal:
    try:
        price = Decimal(str(word))
    except InvalidOperation:
        raise ValueError("the price is no number") from None
    if not price.is_finite() or abs(price) > MOST_USD:
        raise ValueError("the price is no number that a coin can have")
    return price


def _moment(word: Any) -> datetime:
    if isinstance(word, str) and not word.replace(".", "").isdigit():
        moment = datetime.fromisoformat(word)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = Decimal(str(word))
    if seconds > MILLISECONDS_FROM:
        seconds /= 1000
    return datetime.fromtimestamp(float(seconds), UTC)
