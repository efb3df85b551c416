"""
Units of money, all integers; no float anywhere.

USD is counted in nano-dollars (1e-9), prices in pico-dollars (1e-12) per token or piece.
A price of $2.50 per million tokens is 2,500,000 pico-dollars per token.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

NANOS_PER_USD = 10**9
PICOS_PER_USD = 10**12
PICOS_PER_NANO = 1000
LARGEST = 9 * 10**18


def nanos_from_usd(text: str | int | Decimal) -> int:
    """
    Read US dollars, at most nine decimals, as nano-dollars.

    :raises ValueError: not a plain decimal number, or finer than a nano-dollar
    """
    return _scaled(text, digits=9, what="US dollars")


def pico_from_usd(text: str | int | Decimal) -> int:
    """
    Read a price per piece in US dollars, at most twelve decimals, as pico-dollars.

    :raises ValueError: not a plain decimal number, or finer than a pico-dollar
    """
    return _scaled(text, digits=12, what="a price")


def pico_per_token_from_usd_per_million(text: str | int | Decimal) -> int:
    """
    Read a price in US dollars per million tokens as pico-dollars per token.

    :raises ValueError: not a plain decimal number, or more than six decimals
    """
    return _scaled(text, digits=6, what="a price per million tokens")


def _scaled(text: str | int | Decimal, *, digits: int, what: str) -> int:
    if isinstance(text, bool | float):
        raise ValueError(f"Write {what} as text, e.g. '2.50': a float is not exact.")
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        raise ValueError(f"{str(text)[:40]!r} is not a number; write e.g. '2.50'.") from None
    if not number.is_finite():
        raise ValueError(f"{str(text)[:40]!r} is not a number; write e.g. '2.50'.")
    if number.adjusted() > 30 or abs(number) > Decimal(LARGEST).scaleb(-digits):
        raise ValueError(f"{str(text)[:40]} is too large for {what}.")
    scaled = number.scaleb(digits)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text} has too many decimals: {what} takes at most {digits}.")
    return int(scaled)


def usd(nanos: int, *, digits: int | None = None, at_least: int = 2) -> str:
    """
    Write nano-dollars as an exact decimal string.

    ``digits`` rounds down, for balances: nobody has what is shown and is not there. Without it
    the text is exact and has
    ``at_least`` that many decimals.
    """
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if digits is not None:
        unit = 10 ** (9 - digits)
        nanos = nanos // unit * unit
    whole, part = divmod(nanos, NANOS_PER_USD)
    decimals = f"{part:09d}"[:digits] if digits is not None else f"{part:09d}".rstrip("0")
    decimals = decimals.ljust(digits if digits is not None else at_least, "0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def decimals(amounts: Iterable[int], *, at_least: int = 6, finest: int = 9) -> int:
    """
    How many decimals write each of several amounts exactly: one number for a whole column.

    Amounts are integers of which ``10**finest`` are a dollar.
    """
    column = list(amounts)
    return next(
        digits
        for digits in range(at_least, finest + 1)
        if not any(amount % 10 ** (finest - digits) for amount in column)
    )


def usd_from_pico(pico: int, *, at_least: int = 2) -> str:
    """Write pico-dollars as an exact decimal string in dollars, without an exponent."""
    sign, pico = ("-", -pico) if pico < 0 else ("", pico)
    whole, part = divmod(pico, PICOS_PER_USD)
    return f"{sign}{whole}." + f"{part:012d}".rstrip("0").ljust(at_least, "0")


def ceil_div(number: int, divisor: int) -> int:
    """Divide and round up, for numbers ≥ 0."""
    return -(-number // divisor)
