"""What the tables themselves refuse, whoever writes."""

from __future__ import annotations

from typing import Any, Final

from billing import ledger
from billing.models import Transfer
from tests.billing.bank import Customer
from tests.billing.twin import Twin
from tests.mutations.steps import (
    Scenario,
    refused,
    rolled_back,
    writes,
)


def tables_refuse(t: Twin) -> None:
    """What must not be written is refused by the tables themselves, whoever writes."""
    house, coin = t.clearing, ledger.house_account(kind="wallet", asset="COIN")
    _, _, c = t.customers
    booked = Transfer.objects.filter(credit_id=c.usd)[0]
    bounds = bounds_of(c)
    with rolled_back():
        columns = "(subject, role, effective_from)"
        writes(f"insert into billing_price {columns} values ('m', 'retail', now())")  # noqa: S608 - fixed texts
        for statement in (
            "update billing_price set prompt = 0",
            "delete from billing_price",
            "truncate billing_price",
            "update billing_transfer set amount = 1",
            "delete from billing_transfer",
            "delete from billing_transfer where false",
            "truncate billing_transfer",
        ):
            assert refused(statement) == "23001", statement
    for changes in (
        {"kind": "''"},
        {"amount": "0"},
        {"amount": "-1"},
        {"credit_id": house},
        {"asset": "'COIN'"},
        {"debit_id": coin},
        {"asset": "'COIN'", "debit_id": coin},
        {"asset": "'COIN'", "credit_id": coin},
        {"debit_id": -1},
        {"credit_id": -1},
        {"kind": f"'{booked.kind}'", "source": f"'{booked.source}'"},
    ):
        assert refused(transfer_text(house, c.usd, **changes)), changes
    for text in (transfer_text(house, c.usd), transfer_text(house, c.usd, amount="1" + "0" * 77)):
        with rolled_back():
            writes(text)
    with rolled_back():
        writes(transfer_text(house, c.usd, source=f"'{booked.source}'"))
    for row, (bad, good) in bounds.items():
        for change in bad:
            assert refused(f"update {row.format(change)}"), (row, change)
        for change in good:
            with rolled_back():
                writes(f"update {row.format(change)}")
    for values in (
        "'revenue', true, null",
        "'paid', false, null",
        "'granted', false, null",
        f"'bank', true, {c.workspace.pk}",
        f"'bank', false, {c.workspace.pk}",
        f"'paid', false, {c.workspace.pk}",
    ):
        text = "insert into billing_account (kind, bounded, workspace_id, asset) values ({}, 'NEW')"
        assert refused(text.format(values)), values


def bounds_of(one: Customer) -> dict[str, tuple[list[str], list[str]]]:
    """Return what the rows of a customer may not say, and what they just may."""
    home = f"billing_account set {{}} where id = {one.usd}"
    gift = f"billing_account set {{}} where id = {one.home().granted_id}"
    own = "billing_account set {} where workspace_id is null"
    meter = f"billing_keymeter set {{}} where key_id = {one.key.pk}"
    hold = f"billing_hold set {{}} where workspace_id = {one.workspace.pk}"
    usage = f"billing_usage set {{}} where asset = 'USD' and workspace_id = {one.workspace.pk}"
    counters = (
        "credits_posted",
        "debits_posted",
        "debits_pending",
        "day_used",
        "month_used",
        "held",
    )
    settled = "state = 'settled'"
    return {
        home: (
            [f"{name} = -1" for name in (*counters, "day_cap", "month_cap")]
            + [
                "floor = 1, credits_posted = 1, debits_posted = 0",
                "debits_posted = credits_posted + 1",
                "floor = 1",
                "bounded = false",
                "kind = 'revenue'",
                "kind = 'granted'",
                "workspace_id = null",
                "bounded = false, kind = 'revenue', workspace_id = null",
                "floor = -5, debits_posted = credits_posted + 6",
            ],
            [f"{name} = 0" for name in (*counters[1:], "day_cap", "month_cap")]
            + [
                "debits_posted = credits_posted",
                "floor = -5, debits_posted = credits_posted + 5",
                "credits_posted = 0, debits_posted = 0",
            ],
        ),
        gift: (["granted_id = id", "kind = 'x'"], ["debits_posted = credits_posted"]),
        own: (
            [
                "credits_posted = 1",
                "debits_posted = 1",
                "debits_pending = 1",
                "kind = 'paid'",
                "kind = 'granted'",
                "bounded = true",
                f"granted_id = {one.usd}",
                "credits_posted = 1, debits_posted = 1",
                "credits_posted = 1, debits_pending = 1",
            ],
            ["frozen = false"],
        ),
        meter: (
            [f"{name} = -1" for name in ("day_used", "month_used", "held", "day_cap", "month_cap")],
            [f"{name} = 0" for name in ("day_used", "month_used", "held", "day_cap", "month_cap")],
        ),
        hold: (
            ["amount = 0, granted = 0", "granted = -1", "granted = amount + 1", "unit_nanos = 0"],
            ["amount = 1, granted = 0", "granted = 0", "granted = amount", "unit_nanos = 1"],
        ),
        usage: (
            [
                "charged = 1",
                "cost = 1",
                "uncollected = 1",
                "state = 'free'",
                "source = 'guess'",
                f"{settled}, charged = hold + 1",
                f"{settled}, charged = -1",
                f"{settled}, charged = 1, granted = 2",
                f"{settled}, granted = -1",
                f"{settled}, uncollected = -1",
                f"{settled}, cost = -1",
                "state = 'voided', cost = 1",
                "state = 'voided', uncollected = 2, cost = 2",
                "cost = 1, charged = 1",
            ],
            [
                f"{settled}, charged = hold, granted = hold, cost = hold, uncollected = 1",
                "state = 'late', charged = 1, cost = 1",
                "state = 'voided'",
                "source = 'count'",
                f"{settled}, cost = 3",
                f"{settled}, charged = 2, granted = 1, cost = 2",
            ],
        ),
    }


def transfer_text(debit: int, credit: int, **changes: Any) -> str:
    """Return an insert of one transfer."""
    row: dict[str, Any] = {
        "kind": "'new'",
        "source": "gen_random_uuid()",
        "debit_id": debit,
        "credit_id": credit,
        "asset": "'USD'",
        "amount": "1",
    } | changes
    return (
        f"insert into billing_transfer ({', '.join(row)})"  # noqa: S608 - fixed texts
        f" values ({', '.join(map(str, row.values()))})"
    )


def conversions_follow_from_their_terms(t: Twin) -> None:
    """The table refuses amounts that do not follow, and every change."""
    a, _, _ = t.customers
    coins = ledger.house_account(kind="wallet", asset="COIN")
    whole = {
        "amount": 3,
        "numerator": 7,
        "denominator": 2,
        "spread_ppm": 1,
        "gross": 10,
        "spread": 1,
    }

    def text(**changes: Any) -> str:
        row = (
            {
                "source": "gen_random_uuid()",
                "debit_id": coins,
                "credit_id": a.usd,
                "rate_source": "'x'",
                "rate_at": "now()",
                "at": "now()",
            }
            | whole
            | changes
        )
        return (
            f"insert into billing_conversion ({', '.join(row)})"  # noqa: S608 - fixed texts
            f" values ({', '.join(map(str, row.values()))})"
        )

    for good in (
        {},
        {"spread_ppm": 0, "spread": 0},
        {"spread_ppm": 999_999, "amount": 10**6, "gross": 3_500_000, "spread": 3_499_997},
    ):
        with rolled_back():
            writes(text(**good))
    for bad in (
        {"gross": 11},
        {"gross": 9},
        {"spread": 0},
        {"spread": 2},
        {"rate_source": "''"},
        {"spread_ppm": -1, "spread": 0},
        {"spread_ppm": 10**6, "spread": 10},
        {"amount": 0, "gross": 0, "spread": 0, "spread_ppm": 0},
        {"denominator": 0},
        {"amount": -3, "numerator": -7},
        {"amount": 1, "gross": 3, "numerator": 7, "spread_ppm": 999_999, "spread": 3},
        {"amount": 0, "gross": 0},
        {"numerator": -7, "denominator": -2},
        {"amount": -3, "denominator": -2},
        {"source": "null"},
        {"amount": -3, "gross": -10, "spread": -20, "spread_ppm": 1},
    ):
        assert refused(text(**bad)), bad
    with rolled_back():
        writes(text())
        for statement in (
            "update billing_conversion set spread = 1",
            "delete from billing_conversion",
            "delete from billing_conversion where false",
            "truncate billing_conversion",
        ):
            assert refused(statement) == "23001", statement


def corrections_stay(t: Twin) -> None:
    """Nobody changes or removes what a call was booked at before."""
    for statement in (
        "update billing_revision set cost = 1",
        "delete from billing_revision",
        "delete from billing_revision where false",
        "truncate billing_revision",
    ):
        assert refused(statement) == "23001", statement


TABLES: Final[tuple[Scenario, ...]] = (
    tables_refuse, conversions_follow_from_their_terms, corrections_stay,
)  # fmt: skip
