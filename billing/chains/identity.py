"""Endpoints are what the configuration says: the right chain, the right contracts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from billing.chains import rpc
from billing.chains.config import Chain, Token
from billing.chains.rpc import Node

DECIMALS: Final = "0x313ce567"  # decimals()
BALANCE_OF: Final = "0x70a08231"  # balanceOf(address)
# A token behind a proxy can change under its address.
CHECK_EVERY_S: Final = 3600.0

_checked: dict[tuple[int, tuple[str, ...]], float] = {}


class Mismatch(Exception):
    """An endpoint or a contract is not what was configured; nothing is credited."""


def check(nodes: Sequence[Node], *, chain: Chain) -> None:
    """
    Check which chain the endpoints are, and once an hour the contracts.

    :raises Mismatch: an endpoint or a contract is not what was configured
    :raises billing.chains.rpc.RpcError: an endpoint did not answer
    """
    for node in nodes:
        _chain_id(node, chain)
    mark = (chain.id, tuple(chain.rpc))
    last = _checked.get(mark)
    if last is not None and time.monotonic() - last < CHECK_EVERY_S:
        return
    for node in nodes:
        for token in chain.tokens:
            contract(node, chain=chain, token=token)
        _oracle(node, chain)
    _checked[mark] = time.monotonic()


def _chain_id(node: Node, chain: Chain) -> None:
    told = rpc.number(node.ask("eth_chainId"))
    if told != chain.id:
        raise Mismatch(f"{node.label} of {chain.name} is chain {told}, not {chain.id}")


def contract(node: Node, *, chain: Chain, token: Token) -> None:
    """
    Check a token's contract: also one behind a proxy has the decimals that were configured.

    :raises Mismatch: there is none, or it counts in another unit
    :raises billing.chains.rpc.RpcError: the endpoint did not answer
    """
    if _is_empty(node, token.contract):
        raise Mismatch(f"{token.symbol} on {chain.name}: no contract at {token.contract}")
    told = rpc.number(call(node, token.contract, DECIMALS, "latest"))
    if told != token.decimals:
        raise Mismatch(f"{token.symbol} on {chain.name} has {told} decimals, not {token.decimals}")


def _oracle(node: Node, chain: Chain) -> None:
    oracle = chain.sanctions_oracle
    if oracle is not None and _is_empty(node, oracle):
        raise Mismatch(f"sanctions_oracle of {chain.name}: no contract at {oracle}")


def _is_empty(node: Node, address: str) -> bool:
    return node.ask("eth_getCode", address, "latest") in (None, "0x", "")


def call(node: Node, contract: str, told: str, block: str) -> Any:
    """
    Return what a contract answers.

    :raises billing.chains.rpc.RpcError: the endpoint did not answer
    """
    return node.ask("eth_call", {"to": contract, "data": told}, block)


def forget() -> None:
    """Check everything again at the next look."""
    _checked.clear()
