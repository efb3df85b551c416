"""
Who sends: this server's own list, and the list of sanctions that a contract keeps.

The contract answers ``isSanctioned(address)``, as the public oracles for it do. One that gives
no answer clears nobody: a deposit that could not be screened waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from billing.chains import addresses, rpc
from billing.chains.config import Chain
from billing.chains.rpc import Node
from billing.models import Deposit

Doubt = Deposit.Doubt
IS_SANCTIONED: Final = "0xdf592f7d"  # isSanctioned(address)
WORD_LENGTH: Final = 66


def screens(*, chain: Chain) -> bool:
    """Whether it matters on a chain who sends."""
    return bool(chain.blocked_senders or chain.sanctions_oracle or chain.hold_unseen)


def doubt(nodes: Sequence[Node], *, chain: Chain, senders: Iterable[str]) -> Deposit.Doubt:
    """
    Return why money from these addresses needs a person's decision.

    :raises billing.chains.rpc.Unreachable: an endpoint did not answer; ask again later
    """
    some = sorted({addresses.checksummed(each) for each in senders if each})
    told = {_told(node, chain.sanctions_oracle, each) for node in nodes for each in some}
    if Doubt.LISTED in told:
        return Doubt.LISTED
    if not set(chain.blocked_senders).isdisjoint(some):
        return Doubt.BLOCKED
    return Doubt.UNSCREENED if Doubt.UNSCREENED in told else Doubt.NONE


def _told(node: Node, oracle: str | None, sender: str) -> Deposit.Doubt:
    if oracle is None:
        return Doubt.NONE
    data = IS_SANCTIONED + addresses.topic(sender)[2:]
    try:
        # The newest list, whatever it was when the money moved.
        word = node.ask("eth_call", {"to": oracle, "data": data}, "latest")
    except rpc.Refused:
        return Doubt.UNSCREENED
    if not isinstance(word, str) or len(word) != WORD_LENGTH or rpc.number(word) > 1:
        return Doubt.UNSCREENED
    return Doubt.LISTED if rpc.number(word) else Doubt.NONE
