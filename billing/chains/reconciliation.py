"""The chain's own balances against our rows: each day, and never repaired in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billing import incidents
from billing.chains import addresses, config, deposits, identity, rpc, sweepplan, transfers
from billing.chains.config import Chain, Token
from billing.chains.rpc import Node
from billing.models import Alert, ChainCursor, DepositAddress, NativeBalance

SILENT_AFTER = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An address that has more or less than our rows say."""

    asset: str
    address: str
    on_chain: int
    booked: int


def reconcile(*, chain: Chain) -> list[Difference]:
    """
    Compare balances at the block up to which everything is booked; tell what differs.

    :raises billing.chains.rpc.RpcError: an endpoint did not answer
    :raises billing.chains.transfers.Disagreement: the endpoints are of different minds
    """
    with rpc.nodes(chain.rpc) as nodes:
        found = _compare(chain, nodes)
        if found:
            # What a look books meanwhile is a difference once only.
            again = _compare(chain, nodes)
            found = [each for each in found if each in again]
    for token in chain.accepted:
        _tell(token, [each for each in found if each.asset == token.asset])
        _check_units(token)
    return found


def _compare(chain: Chain, nodes: Sequence[Node]) -> list[Difference]:
    number = ChainCursor.objects.get(pk=chain.id).number
    transfers.agreed_hash(nodes, number=number)
    return [
        difference
        for token in chain.accepted
        for difference in _differences(nodes[-1], token, number)
    ]


def _tell(token: Token, found: list[Difference]) -> None:
    """Tell what differs; what was told before and differs no more is over."""
    of = f"balance:{token.asset}:"
    told = {of + each.address: each for each in found}
    for subject, each in told.items():
        facts = {
            "what": "The balance on the chain is not what was booked.",
            "on_chain": str(each.on_chain),
            "booked": str(each.booked),
        }
        incidents.begin(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject, facts=facts)
    incidents.end_others(kind=Alert.Kind.CHAIN_TROUBLE, subjects=set(told), of=of)


def _differences(node: Node, token: Token, number: int) -> list[Difference]:
    booked = sweepplan.resting(token=token)
    told = _native(token, booked) if token.is_native else _balances(node, token, booked, number)
    return [
        Difference(
            asset=token.asset, address=each.address, on_chain=told[each], booked=booked[each]
        )
        for each in booked
        if each in told and told[each] != booked[each]
    ]


def _balances(
    node: Node, token: Token, booked: dict[DepositAddress, int], number: int
) -> dict[DepositAddress, int]:
    calls: list[tuple[Any, ...]] = [
        (
            "eth_call",
            {
                "to": token.contract,
                "data": identity.BALANCE_OF + addresses.topic(each.address)[2:],
            },
            hex(number),
        )
        for each in booked
    ]
    words = node.ask_many(calls)
    return {each: rpc.number(word) for each, word in zip(booked, words, strict=True)}


def _check_units(token: Token) -> None:
    """What is credited and what lies there differ by less than one of the ledger's units."""
    of = f"units:{token.asset}:"
    rests = {f"{of}{each}": rest for each, rest in deposits.uncounted(token=token).items()}
    wrong = {subject: rest for subject, rest in rests.items() if not 0 <= rest < token.scale}
    for subject, rest in wrong.items():
        facts = {"what": "Credited is not what arrived.", "difference": str(rest)}
        incidents.begin(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject, facts=facts)
    incidents.end_others(kind=Alert.Kind.CHAIN_TROUBLE, subjects=set(wrong), of=of)


def _native(token: Token, booked: dict[DepositAddress, int]) -> dict[DepositAddress, int]:
    # Booked from the balances themselves: the rows must add up to the last one.
    known = {
        row.address_id: row.balance for row in NativeBalance.objects.filter(chain_id=token.chain_id)
    }
    return {each: known.get(each.pk, 0) for each in booked}


def report_silence(*, now: datetime) -> None:
    """Tell of chains that could not be looked at for long."""
    for chain in config.current().chains:
        cursor = ChainCursor.objects.filter(pk=chain.id).first()
        subject = f"silent:{chain.id}"
        if cursor is not None and now - cursor.scanned_at > SILENT_AFTER:
            facts = {"what": "No look at the chain has succeeded.", "chain": chain.name}
            incidents.begin(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject, facts=facts)
        else:
            incidents.end(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject)
