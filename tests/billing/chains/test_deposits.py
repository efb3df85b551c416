from __future__ import annotations

import pytest

from accounts.models import Workspace
from billing.chains import config, deposits, exchange
from billing.chains.deposits import Seen
from billing.models import Deposit, DepositAddress
from tests.billing.chains.counter import Counter

pytestmark = pytest.mark.django_db


def seen(shop: Counter, address: DepositAddress) -> Seen:
    """A deposit as a look at the chain found it, with the address as it was when that began."""
    return Seen(
        address=address,
        token=config.tokens()[shop.asset("USDC")],
        block_number=1,
        block_hash="0x1",
        amount=10_000_000,
        tx_hash="0x2",
    )


class TestBook:
    def test_what_is_kept_is_decided_when_it_is_booked(self, shop: Counter) -> None:
        found = seen(shop, shop.customer())
        exchange.set_keep(address=found.address, keep=True)
        deposits.book(found, chain=config.chain(shop.chain.chain_id))
        assert Deposit.objects.get().state == Deposit.State.KEPT

    def test_a_workspace_that_was_closed_meanwhile_is_not_credited(self, shop: Counter) -> None:
        found = seen(shop, shop.customer())
        assert found.address.workspace.closed_at is None
        Workspace.objects.filter(pk=found.address.workspace_id).update(closed_at="2026-01-01T00Z")
        deposits.book(found, chain=config.chain(shop.chain.chain_id))
        assert Deposit.objects.get().doubt == Deposit.Doubt.CLOSED
