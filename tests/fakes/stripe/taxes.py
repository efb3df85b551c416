"""Stripe Tax: what is due, what was recorded of a payment, and what went back of it."""

from __future__ import annotations

from typing import Any

from tests.fakes.stripe.bank import Bank, Failure
from tests.fakes.stripe.form import Body


def calculate(bank: Bank, wanted: Body) -> Body:
    """Say what tax is due; without an address nobody knows."""
    customer = bank.get(wanted["customer"], "customer") if "customer" in wanted else {}
    said = wanted.get("customer_details") or {}
    address = said.get("address") or customer.get("address")
    if not address:
        raise Failure(400, "customer_tax_location_invalid", "The customer's address is not known.")
    amount = sum(int(each["amount"]) for each in wanted["line_items"])
    tax = amount * bank.tax_percent // 100
    return bank.make(
        "taxcalc",
        "tax.calculation",
        amount_total=amount + tax,
        currency=wanted["currency"],
        customer=wanted.get("customer"),
        tax_amount_exclusive=tax,
        _address=address,
    )


def record(bank: Bank, intent: Body) -> None:
    """Record the tax of a payment that names a calculation, once it is paid."""
    calculation = _calculation(bank, intent)
    if calculation is None:
        return
    if any(each["_calculation"] == calculation["id"] for each in bank.all("tax.transaction")):
        return
    _transaction(bank, calculation, intent["id"], calculation["amount_total"])


def reverse(bank: Bank, intent: Body, refund: Body) -> None:
    """Take the tax of a refund off what was recorded."""
    calculation = _calculation(bank, intent)
    if calculation is not None:
        _transaction(bank, calculation, refund["id"], -refund["amount"], type="reversal")


def restore(bank: Bank, intent: Body, refund: Body) -> None:
    """Record again what a refund took off that failed."""
    calculation = _calculation(bank, intent)
    if calculation is not None and refund["status"] == "failed":
        _transaction(bank, calculation, f"{refund['id']}-failed", refund["amount"])


def _calculation(bank: Bank, intent: Body) -> Body | None:
    hooks: Any = intent.get("hooks") or {}
    name = ((hooks.get("inputs") or {}).get("tax") or {}).get("calculation")
    return bank.get(name, "tax.calculation") if name else None


def _transaction(bank: Bank, calculation: Body, source: str, total: int, **facts: Any) -> None:
    whole = calculation["amount_total"]
    bank.make(
        "tax",
        "tax.transaction",
        currency=calculation["currency"],
        customer=calculation["customer"],
        reference=source,
        _calculation=calculation["id"],
        _total=total,
        _tax=total * calculation["tax_amount_exclusive"] // whole,
        **facts,
    )
