"""What staff do about deposits that wait for a person, and about tokens on no list."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from accounts.errors import Invalid
from billing.adminsteps import Step, StepForm, Taken
from billing.chains import config, deposits, unlisted
from billing.models import Deposit, UnlistedToken

MOVE_MONEY: Final = "accounts.move_money"
RESOLVE_SUSPENSE: Final = "accounts.resolve_calls"


class ResolveForm(StepForm):
    """What becomes of it."""

    resolution = forms.ChoiceField(
        choices=[each for each in UnlistedToken.Resolution.choices if each[0]],
        widget=forms.RadioSelect,
    )


def _facts(deposit: Deposit) -> dict[str, Any]:
    return {"state": deposit.state, "doubt": deposit.doubt}


def _not_waiting(deposit: Deposit) -> str:
    waits = deposit.state == Deposit.State.SUSPENDED
    return "" if waits else f"It is {deposit.state}: it waits for no decision."


def _not_releasable(deposit: Deposit) -> str:
    if deposit.doubt == Deposit.Doubt.LISTED:
        return "Its sender is on the list of sanctions: it is never credited."
    if deposit.asset not in config.tokens():
        return "Its coin is in CHAINS_FILE no more: put it back first."
    return _not_waiting(deposit)


def _release(taken: Taken) -> str:
    token = config.tokens()[taken.row.asset]
    try:
        released = deposits.release(
            deposit=taken.row, token=token, by=taken.by, reason=taken.reason
        )
    except deposits.Contradiction as error:
        raise Invalid(str(error)) from None
    return f"{released.public_id} is {released.state}."


def _reject(taken: Taken) -> str:
    try:
        deposits.reject(deposit=taken.row, by=taken.by, reason=taken.reason)
    except deposits.Contradiction as error:
        raise Invalid(str(error)) from None
    return "It stays where it lies and is credited to nobody."


def _resolve(taken: Taken) -> str:
    chosen = taken.form["resolution"]
    unlisted.resolve(token=taken.row, resolution=chosen, by=taken.by, reason=taken.reason)
    if chosen == UnlistedToken.Resolution.CREDITED:
        return "It is booked at the next look at the chain."
    return "Resolved."


RELEASE = Step(
    name="release",
    title="Release",
    text="Credit it to its workspace as if nothing had spoken against it.",
    permission=MOVE_MONEY,
    run=_release,
    facts=_facts,
    refusal=_not_releasable,
)
REJECT = Step(
    name="reject",
    title="Reject",
    text="Never credit it. It stays at the deposit address; who holds the wallet sends it back,"
    " or does not, by hand and outside of this server.",
    permission=MOVE_MONEY,
    run=_reject,
    facts=_facts,
    refusal=_not_waiting,
)
RESOLVE = Step(
    name="resolve",
    title="Resolve",
    text="Anybody can make a token of any name and send it here. Look the contract up before it is"
    " put on the list; what was put there can be credited.",
    permission=RESOLVE_SUSPENSE,
    form=ResolveForm,
    run=_resolve,
    facts=lambda token: {"resolution": token.resolution},
    refusal=lambda token: "It is resolved." if token.resolution else "",
)
