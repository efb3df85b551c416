from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from accounts.actors import Staff
from accounts.errors import Invalid
from accounts.models import AuditEvent, User
from billing.chains import config, exchange, unlisted
from billing.models import Deposit, DepositAddress, UnlistedToken
from tests import staffing
from tests.billing.chains import counter
from tests.billing.chains.counter import FAKE, USDC, USDT, Counter, quote

Resolution = UnlistedToken.Resolution


@pytest.fixture
def clerk(db: None) -> User:
    return staffing.member("clerk@example.com", superuser=True)


def list_tokens(shop: Counter, settings: Settings, folder: Path, *contracts: str) -> None:
    """Put other tokens on the list; the first one is USDC, the second USDT."""
    given = counter.plan([each.url for each in shop.chain.endpoints])
    named = zip(("USDC", "USDT"), contracts, strict=False)
    rows: list[dict[str, Any]] = [
        {"symbol": symbol, "contract": each, "decimals": 6} for symbol, each in named
    ]
    given["chains"][0]["tokens"] = rows
    shop.chain.decimals.update(dict.fromkeys(contracts, 6))
    counter.configure(settings, folder, given)


def arrive(shop: Counter, address: DepositAddress, amount: int, token: str = FAKE) -> None:
    shop.chain.mine(shop.pay(address, amount, token))
    shop.chain.finalise()
    assert shop.look().trouble == ""


class TestResolve:
    @pytest.mark.parametrize("chosen", [Resolution.WORTHLESS, Resolution.RETURNED])
    def test_it_is_decided_once_and_written_down(
        self, shop: Counter, clerk: User, chosen: Resolution
    ) -> None:
        arrive(shop, shop.customer(), 5_000_000)
        row = UnlistedToken.objects.get()
        unlisted.resolve(token=row, resolution=chosen, by=Staff(clerk), reason="Looked it up")
        row.refresh_from_db()
        assert (row.resolution, row.note, row.resolved_by) == (chosen, "Looked it up", clerk)
        assert row.resolved_at is not None
        assert AuditEvent.objects.get(action="crypto.unlisted_resolved").target == FAKE
        with pytest.raises(Invalid, match="was decided"):
            unlisted.resolve(token=row, resolution=chosen, by=Staff(clerk), reason="Again")

    def test_a_token_that_is_on_no_list_cannot_be_credited(
        self, shop: Counter, clerk: User
    ) -> None:
        arrive(shop, shop.customer(), 5_000_000)
        row = UnlistedToken.objects.get()
        with pytest.raises(Invalid, match="CHAINS_FILE"):
            unlisted.resolve(token=row, resolution="credited", by=Staff(clerk), reason="Real")
        row.refresh_from_db()
        assert row.resolution == ""

    def test_once_listed_all_that_came_before_is_credited_each_once(
        self, shop: Counter, clerk: User, settings: Settings, tmp_path: Path
    ) -> None:
        # As with a bridged dollar that an operator comes to accept.
        address = shop.customer()
        arrive(shop, address, 5_000_000)
        for _ in range(20):
            shop.chain.mine()
        arrive(shop, address, 6_000_000)
        list_tokens(shop, settings, tmp_path, FAKE)
        arrive(shop, address, 7_000_000)
        assert shop.credited(address) == 7_000_000
        row = UnlistedToken.objects.get()
        unlisted.resolve(token=row, resolution="credited", by=Staff(clerk), reason="Bridged")
        # A crash, or an endpoint that is away, only delays it.
        shop.chain.endpoints[0].faults.fail = 503
        shop.look()
        assert UnlistedToken.objects.filter(resolved_at=None).exists()
        shop.chain.endpoints[0].faults.fail = None
        assert (shop.look().new, shop.look().new) == (2, 0)
        row.refresh_from_db()
        assert row.resolved_at is not None
        assert shop.credited(address) == 18_000_000
        assert counter.books_balance()

    def test_a_worker_that_has_the_old_list_leaves_it_to_one_that_has_the_new(
        self, shop: Counter, clerk: User, settings: Settings, tmp_path: Path
    ) -> None:
        address = shop.customer()
        arrive(shop, address, 5_000_000)
        row = UnlistedToken.objects.get()
        before = settings.CHAINS_FILE
        list_tokens(shop, settings, tmp_path, FAKE)
        unlisted.resolve(token=row, resolution="credited", by=Staff(clerk), reason="Bridged")
        after, settings.CHAINS_FILE = settings.CHAINS_FILE, before
        assert shop.look().trouble == ""
        settings.CHAINS_FILE = after
        assert shop.look().new == 1
        assert shop.credited(address) == 5_000_000

    def test_what_was_sent_back_and_comes_again_is_open_again(
        self, shop: Counter, clerk: User
    ) -> None:
        address = shop.customer()
        for chosen, then in ((Resolution.RETURNED, ""), (Resolution.WORTHLESS, "worthless")):
            arrive(shop, address, 5_000_000)
            row = UnlistedToken.objects.get()
            unlisted.resolve(token=row, resolution=chosen, by=Staff(clerk), reason="Sent back")
            arrive(shop, address, 5_000_000)
            row.refresh_from_db()
            assert row.resolution == then


class TestACoinThatIsTakenOffTheList:
    def test_what_came_before_stays_and_waits_what_comes_is_noted(
        self, shop: Counter, settings: Settings, tmp_path: Path, clerk: User
    ) -> None:
        address = shop.customer()
        asset = shop.asset("USDC")
        arrive(shop, address, 5_000_000, USDC)
        list_tokens(shop, settings, tmp_path, USDT)
        quote("USDC", "1")
        arrive(shop, address, 6_000_000, USDC)
        # Nothing prices it any more: it is told to operators and converted by nobody.
        assert exchange.convert_due(now=Deposit.objects.latest("id").found_at) == 0
        assert counter.incidents() == [asset]
        assert shop.balance(address, asset).total == 5_000_000
        row = UnlistedToken.objects.get()
        assert (row.contract, row.amount) == (USDC, "6000000")
        # Back on the list, what came meanwhile is credited where staff says so.
        list_tokens(shop, settings, tmp_path, USDC)
        unlisted.resolve(token=row, resolution="credited", by=Staff(clerk), reason="Back")
        shop.look()
        assert shop.balance(address, asset).total == 11_000_000
        assert exchange.convert_due(now=Deposit.objects.latest("id").found_at) == 2
        assert config.tokens()[asset].symbol == "USDC"
        assert counter.books_balance()
