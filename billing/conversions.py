"""
Exchanges of one asset for another, as linked transfers through the house's trading accounts.

Amounts are in the smallest units of their assets, and so is a rate: units of the wanted asset
for one unit of the given one. An asset of a chain is named by its contract
(``USDC@1:0xa0b8…``), because decimals belong to the contract and not to the symbol.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from django.db import connection

from billing import ledger
from billing.models_tokens import Conversion

CONVERT: Final = "select billing_convert(%s::jsonb)::text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one unit of the given asset is worth in the wanted one, and who says so when."""

    value: Fraction
    source: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of a conversion; the credited account got gross - spread."""

    new: bool
    gross: int
    spread: int

    @property
    def received(self) -> int:
        """What the credited account got."""
        return self.gross - self.spread


def unit_rate(*, price: Decimal, given_decimals: int, wanted_decimals: int) -> Fraction:
    """
    Return a market's price as a rate between smallest units, exactly.

    1 USDC (6 decimals) at 0.9991 USD (9 decimals) is 999.1 nano-dollars per unit.
    """
    return Fraction(price) * Fraction(10) ** (wanted_decimals - given_decimals)


def convert(
    *,
    source: UUID,
    debit: int,
    credit: int,
    amount: int,
    rate: Rate,
    spread_ppm: int = 0,
    reason: str = "",
    created_by: int | None = None,
) -> Converted:
    """
    Take an amount from one account and give its worth to an account of another asset.

    Rounded down, the spread up. The same source is converted once, `new` says whether now.

    :raises billing.ledger.Conflict: the source was converted before on other terms
    :raises billing.ledger.InsufficientFunds: the amount is more than the holds leave
    :raises billing.ledger.NotATransfer: accounts of one asset, or too little to be worth a unit
    """
    terms = {
        "source": str(source),
        "debit": debit,
        "credit": credit,
        "amount": amount,
        "numerator": rate.value.numerator,
        "denominator": rate.value.denominator,
        "spread_ppm": spread_ppm,
        "rate_source": rate.source,
        "rate_at": rate.at.isoformat(),
        "reason": reason,
        "created_by": created_by,
    }
    with ledger.refusals(), connection.cursor() as cursor:
        cursor.execute(CONVERT, [json.dumps(terms)])
        said = json.loads(cursor.fetchone()[0])
    return Converted(new=said["v"] == "ok", gross=said["gross"], spread=said["spread"])


def find(*, source: UUID) -> Conversion | None:
    """Return what was converted for an external object, if it was."""
    return Conversion.objects.filter(source=source).first()
