"""What staff do about payments that go back: refunds, disputes, warnings of fraud."""

from __future__ import annotations

from typing import Any, Final

from django.db import connection

from accounts import audit
from accounts.approvals import Submitted
from billing import claims, ledger, orders, queue, refunds
from billing.adminsteps import Step, StepForm, Taken
from billing.forms_billing import CentsField
from billing.models import Claim, Refund, TopUp
from billing.topups import NANOS_PER_CENT
from common import money

MOVE_MONEY: Final = "accounts.move_money"
IN_LEDGER: Final = "The customer reads it in the ledger."


class RefundForm(StepForm):
    """How much goes back."""

    amount = CentsField(label="Amount, USD, tax included")

    def __init__(self, *arguments: Any, row: TopUp, **named: Any) -> None:
        super().__init__(*arguments, row=row, **named)
        self.fields["amount"].initial = refunds.refundable_cents(row)
        self.fields["reason"].help_text = IN_LEDGER


def _lock(claim: Claim) -> None:
    ledger.lock_homes(workspace_id=claim.workspace_id, assets=(ledger.USD,))


def _one_by_one(top_up: TopUp) -> None:
    # Not the accounts: orders lock them after what they lock themselves.
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"refund {top_up.public_id}"]
        )


def _refundable(top_up: TopUp) -> dict[str, Any]:
    return {"status": top_up.status, "left": refunds.refundable_cents(top_up)}


def _no_refund(top_up: TopUp) -> str:
    if top_up.status != TopUp.Status.PAID:
        return "Only what was paid can be refunded."
    return "" if refunds.refundable_cents(top_up) else "All of it went back already."


def _refund(taken: Taken) -> str:
    cents = taken.form["amount"]
    submitted = orders.refund(
        top_up=taken.row,
        amount_cents=cents,
        reason=taken.reason,
        by=taken.by,
        source=taken.token,
    )
    amount = money.usd(cents * NANOS_PER_CENT)
    return told(submitted, f"{amount} USD are set aside and on their way.")


def told(submitted: Submitted, done: str) -> str:
    """What became of an order of money, in a sentence."""
    if submitted.approval is None:
        return done
    name = submitted.approval.public_id
    return f"It is worth more than one person decides alone: {name} waits for somebody else."


def _ask_again(taken: Taken) -> str:
    refund: Refund = taken.row
    audit.record(
        action="refund.asked_again",
        by=taken.by,
        target=audit.Target(refund.public_id, refund.top_up.public_id),
        workspaces=[None],
        after={"status": refund.status, "reason": taken.reason},
    )
    queue.after_commit("send_refund", refund.pk)
    return "The processor is asked what became of it."


def _claim_facts(claim: Claim) -> dict[str, Any]:
    return {
        "status": claim.status,
        "froze": claim.froze,
        "owed_usd": money.usd(claim.owed - claim.repaid),
    }


def _decide(taken: Taken, action: str) -> Claim:
    """Write down what a decision changed of a claim; it is made already."""
    before: Claim = taken.row
    claim = Claim.objects.get(pk=before.pk)
    audit.decided(
        action=action,
        by=taken.by,
        target=audit.Target(claim.external_id[:64], claim.top_up.public_id),
        workspace=claim.workspace_id,
        before=_claim_facts(before),
        after=_claim_facts(claim),
        reason=taken.reason,
    )
    return claim


def _release(taken: Taken) -> str:
    claims.reverse(external_id=taken.row.external_id)
    _decide(taken, "claim.released")
    return "What it took is given back, its debt forgiven."


def _accept(taken: Taken) -> str:
    claims.lose(external_id=taken.row.external_id)
    _decide(taken, "claim.accepted")
    return "It stands. The workspace stays as frozen as it is."


REFUND = Step(
    name="refund",
    title="Refund",
    text="The credit is set aside at once and leaves when the processor says that it went.",
    permission=MOVE_MONEY,
    form=RefundForm,
    run=_refund,
    facts=_refundable,
    lock=_one_by_one,
    refusal=_no_refund,
)
ASK_AGAIN = Step(
    name="ask",
    title="Ask the processor again",
    text="A refund that is pending is sent again, which makes no second one, or asked about.",
    permission=MOVE_MONEY,
    run=_ask_again,
    refusal=lambda refund: "" if refund.status == Refund.Status.PENDING else "It is over.",
)
RELEASE = Step(
    name="release",
    title="Release",
    text="Give back what it took, forgive its debt, and thaw the workspace where it froze it and"
    " no other claim stands. For what turned out to be none.",
    permission=MOVE_MONEY,
    run=_release,
    facts=_claim_facts,
    lock=_lock,
    refusal=lambda claim: "" if claim.status != Claim.Status.REVERSED else "It is released.",
)
ACCEPT = Step(
    name="accept",
    title="Accept",
    text="It stands: the money is gone, what is owed is paid by later payments.",
    permission=MOVE_MONEY,
    run=_accept,
    facts=_claim_facts,
    lock=_lock,
    refusal=lambda claim: "" if claim.status == Claim.Status.OPEN else "It is decided.",
)
