"""What lies at our addresses, for an operator who signs elsewhere: nothing here can spend."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Sum

from billing.chains import config, deposits, xpub
from billing.chains.config import Token, written
from billing.models import Deposit, DepositAddress, Outflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One amount to move; `path` says which key of the wallet signs.

    `uncounted` of it is below the ledger's unit: credited to nobody yet.
    """

    chain_id: int
    chain: str
    asset: str
    symbol: str
    contract: str
    address: str
    path: str
    amount: str
    base_units: int
    uncounted: int


def plan() -> list[Line]:
    """Return everything that was booked and has not left, by chain and token."""
    found = config.current()
    lines = []
    for chain in found.chains:
        for token in chain.accepted:
            rests = deposits.uncounted(token=token)
            for address, amount in resting(token=token).items():
                if amount > 0:
                    rest = rests.get(address.pk, 0)
                    lines.append(_line(chain.name, token, address, amount, rest))
    return lines


def resting(*, token: Token) -> dict[DepositAddress, int]:
    """Return what should lie at each address, in the token's smallest units."""
    came = _sums(Deposit, token)
    left = _sums(Outflow, token)
    watched = DepositAddress.objects.select_related("extended_key").order_by("id")
    return {each: came.get(each.pk, 0) - left.get(each.pk, 0) for each in watched}


def _sums(model: type[Deposit] | type[Outflow], token: Token) -> dict[int, int]:
    rows = model.objects.filter(asset=token.asset).order_by().values_list("address_id")
    return {address: int(amount) for address, amount in rows.annotate(amount=Sum("amount"))}


def _line(chain: str, token: Token, address: DepositAddress, amount: int, rest: int) -> Line:
    return Line(
        chain_id=token.chain_id,
        chain=chain,
        asset=token.asset,
        symbol=token.symbol,
        contract=token.contract,
        address=address.address,
        path=f"{address.extended_key.path}/{xpub.RECEIVING}/{address.index}",
        amount=written(amount, token.decimals),
        base_units=amount,
        uncounted=rest,
    )
