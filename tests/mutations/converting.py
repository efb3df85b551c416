"""What billing_convert must do."""

from __future__ import annotations

import json
from typing import Any, Final

from django.db import transaction

from billing import conversions, ledger
from billing.models import Conversion
from common import ids
from tests.billing import bank
from tests.billing.twin import Twin
from tests.mutations.steps import (
    Scenario,
)


def amounts_follow_from_the_rate(t: Twin) -> None:
    """Rounded down, the spread up, as linked transfers through the trading accounts."""
    a, _, _ = t.customers
    coins = ledger.house_account(kind="wallet", asset="COIN")
    for amount, numerator, denominator, ppm, gross, fee in (
        (1, 1, 1, 0, 1, 0),
        (3, 7, 2, 0, 10, 0),
        (3, 7, 2, 1, 10, 1),
        (2, 7, 7, 500_000, 2, 1),
        (5, 3, 1, 200_000, 15, 3),
        (5, 3, 1, 200_001, 15, 4),
        (10**6, 2, 1, 999_999, 2 * 10**6, 1_999_998),
    ):
        source = str(ids.request_id())
        terms = {
            "debit": coins,
            "credit": a.usd,
            "amount": amount,
            "numerator": numerator,
            "denominator": denominator,
            "spread_ppm": ppm,
            "source": source,
        }
        assert convert(**terms) == {"v": "ok", "gross": gross, "spread": fee}
        assert convert(**terms) == {"v": "already", "gross": gross, "spread": fee}
        t.model.accounts[a.usd].credits += gross - fee
        t.model.transfers["conversion.out", source] = (
            "wallet COIN",
            "trading COIN",
            "COIN",
            amount,
        )
        t.model.transfers["conversion.in", source] = ("trading USD", str(a.usd), "USD", gross - fee)
        if fee:
            t.model.transfers["conversion.spread", source] = (
                "trading USD",
                "fx_spread USD",
                "USD",
                fee,
            )
        t.agree()
        row = Conversion.objects.get(pk=source)
        assert (row.gross, row.spread, row.at, row.rate_source) == (gross, fee, t.now, "market")
    terms |= {"amount": 3, "numerator": 7, "denominator": 2, "spread_ppm": 1}
    assert convert(**(terms | {"source": str(ids.request_id())}))["v"] == "ok"
    other = ledger.house_account(kind="other", asset="COIN")
    before = convert(**(terms | {"source": (source := str(ids.request_id()))}))
    for change in (
        {"amount": 4},
        {"numerator": 8},
        {"denominator": 3},
        {"spread_ppm": 2},
        {"debit": other},
        {"credit": t.customers[1].usd},
    ):
        asked = terms | {"source": source} | change
        converts_not(ledger.Conflict, "on other terms", **asked)
    assert before["v"] == "ok"
    t.part()


def convert(**terms: Any) -> Any:
    """Call billing_convert."""
    given = {"rate_source": "market", "rate_at": "2031-01-01T00:00:00Z", "reason": "r"} | terms
    return json.loads(bank.run_django(conversions.CONVERT, [json.dumps(given)]))


def converts_not(error: type[Exception], words: str, **terms: Any) -> None:
    """Convert what must be refused with this error."""
    said = None
    try:
        with ledger.refusals(), transaction.atomic():
            convert(**terms)
    except error as refusal:
        said = str(refusal)
    assert said is not None
    assert words in said


def terms_that_make_no_sense(t: Twin) -> None:
    """Each is asked for, each bound counts."""
    a, _, _ = t.customers
    terms: dict[str, Any] = {
        "debit": ledger.house_account(kind="wallet", asset="COIN"),
        "credit": a.usd,
        "amount": 4,
        "numerator": 2,
        "denominator": 2,
        "spread_ppm": 0,
        "source": str(ids.request_id()),
    }
    for change in (
        {"debit": ledger.house_account(kind="wallet", asset="USD")},
        {"source": None},
        {"rate_source": ""},
        {"rate_source": None},
        {"rate_at": None},
        {"amount": 0},
        {"numerator": 0},
        {"denominator": 0},
        {"amount": -4, "numerator": -2},
        {"amount": 1.5},
        {"numerator": 2.5},
        {"denominator": 2.5},
        {"spread_ppm": -1},
        {"spread_ppm": 10**6},
        {"spread_ppm": None},
        {"amount": None},
        {"debit": -1},
        {"credit": -1},
        {"debit": None},
        {"credit": None},
    ):
        converts_not(ledger.NotATransfer, "not a conversion", **(terms | change))
    for change in ({"amount": 1, "denominator": 3}, {"amount": 1, "spread_ppm": 1}):
        converts_not(ledger.NotATransfer, "too little", **(terms | change))
    back = {"debit": a.usd, "credit": terms["debit"]}
    converts_not(ledger.InsufficientFunds, "", **(terms | back | {"amount": 1001}))
    assert convert(**(terms | back | {"amount": 1000}))["v"] == "ok"
    t.part()


CONVERTING: Final[tuple[Scenario, ...]] = (
    amounts_follow_from_the_rate,
    terms_that_make_no_sense,
)
