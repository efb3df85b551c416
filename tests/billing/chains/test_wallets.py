from __future__ import annotations

import io
import json
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from accounts.errors import NotVerified
from accounts.models import User
from billing.chains import wallets, watcher, xpub
from billing.chains.xpub import NotAnXpub
from billing.models import ChainCursor, DepositAddress, ExtendedKey
from tests.billing import bank
from tests.billing.chains import counter
from tests.billing.chains.counter import FIRST, Counter
from tests.fakes import wallet

TEXT = wallet.xpub(wallet.account().public)


def set_key(text: str = TEXT, first: str = FIRST, **changes: object) -> ExtendedKey:
    given: dict[str, object] = {"path": wallet.PATH, "replace": False}
    return wallets.set_key(text=text, first_address=first, **given | changes)  # type: ignore[arg-type]  # mixed on purpose


@pytest.mark.django_db
class TestSetKey:
    def test_it_is_kept_sealed(self) -> None:
        key = set_key()
        assert TEXT.encode() not in bytes(key.sealed)
        assert TEXT not in repr(key.__dict__)

    def test_a_key_that_leads_elsewhere_is_refused(self) -> None:
        other = wallet.xpub(wallet.account(number=1).public)
        with pytest.raises(wallets.Unconfirmed, match="hardware wallet"):
            set_key(other)

    def test_a_key_of_another_depth_is_refused(self) -> None:
        node = xpub.child(wallet.account().public, 0)
        with pytest.raises(NotAnXpub, match="depth 4"):
            set_key(wallet.xpub(node))

    def test_a_secret_key_is_refused_and_not_stored(self) -> None:
        with pytest.raises(NotAnXpub, match="SECRET"):
            set_key(wallet.xprv(wallet.account()))
        assert not ExtendedKey.objects.exists()

    def test_another_key_replaces_it_only_when_that_is_said(self) -> None:
        first = set_key()
        node = wallet.account(number=1).public
        other, address = wallet.xpub(node), xpub.receiving_address(node, 0)
        with pytest.raises(wallets.AlreadySet, match="--replace"):
            set_key(other, address)
        set_key(other, address, replace=True)
        first.refresh_from_db()
        assert first.retired_at is not None
        with pytest.raises(wallets.AlreadySet, match="is or was"):
            set_key(replace=True)

    def test_a_path_that_is_none_of_an_account_is_refused(self) -> None:
        with pytest.raises(NotAnXpub, match="no path"):
            set_key(path="m/44/60/0")


@pytest.mark.django_db
class TestTheCommand:
    def test_it_reads_the_key_from_standard_input_and_shows_it_nowhere(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(TEXT + "\n"))
        call_command("set_xpub", "--path", wallet.PATH, "--first-address", FIRST, "--json")
        said = capfd.readouterr()
        assert json.loads(said.out) == {"path": wallet.PATH, "first_address": FIRST}
        assert TEXT not in said.out + said.err

    def test_a_refusal_does_not_show_it_either(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(TEXT[:-1] + "z"))
        with pytest.raises(CommandError) as refused:
            call_command("set_xpub", "--path", wallet.PATH, "--first-address", FIRST)
        assert TEXT[:20] not in str(refused.value)


class TestGive:
    def test_a_workspace_has_one_address_for_life(self, shop: Counter) -> None:
        workspace = bank.customer().workspace
        first = wallets.give(workspace=workspace)
        assert wallets.give(workspace=workspace) == first
        assert first.address == FIRST
        assert wallets.is_ours(address=first)

    def test_no_two_workspaces_have_the_same(self, shop: Counter) -> None:
        given = [shop.customer() for _ in range(5)]
        assert [each.index for each in given] == list(range(5))
        assert len({each.address for each in given}) == 5

    def test_a_changed_address_is_noticed(self, shop: Counter) -> None:
        one, two = shop.customer(), shop.customer()
        two.delete()
        DepositAddress.objects.filter(pk=one.pk).update(address=two.address)
        one.refresh_from_db()
        assert not wallets.is_ours(address=one)

    def test_before_every_chain_is_watched_there_is_none(self, shop: Counter) -> None:
        ChainCursor.objects.all().delete()
        assert not watcher.ready()
        with pytest.raises(wallets.NoWallet, match="not ready"):
            wallets.give(workspace=bank.customer().workspace)

    def test_without_a_key_there_is_none(self, shop: Counter) -> None:
        ExtendedKey.objects.all().delete()
        with pytest.raises(wallets.NoWallet, match="not set up"):
            wallets.give(workspace=bank.customer().workspace)

    def test_without_a_chain_there_is_none(self, db: None, settings: Settings) -> None:
        settings.CHAINS_FILE = ""
        assert not wallets.available()
        with pytest.raises(wallets.NoWallet):
            wallets.give(workspace=bank.customer().workspace)

    def test_a_person_proves_an_address_first(self, shop: Counter) -> None:
        person = User.objects.create(email="new@example.com")
        with pytest.raises(NotVerified):
            wallets.give(workspace=bank.customer().workspace, by=person)

    def test_a_new_key_serves_new_workspaces_and_the_old_stays_watched(self, shop: Counter) -> None:
        old = shop.customer()
        node = wallet.account(number=1).public
        set_key(wallet.xpub(node), xpub.receiving_address(node, 0), replace=True)
        new = shop.customer()
        assert (new.index, new.address) == (0, xpub.receiving_address(node, 0))
        shop.chain.mine(shop.pay(old, 2_000_000), shop.pay(new, 3_000_000))
        shop.chain.finalise()
        shop.look()
        assert (shop.credited(old), shop.credited(new)) == (2_000_000, 3_000_000)
        assert counter.books_balance()


@pytest.mark.django_db(transaction=True)
class TestGiveAtTheSameTime:
    def test_ten_calls_at_once_give_one_address_each(self, shop: Counter) -> None:
        places = [bank.customer().workspace for _ in range(2)]

        def ask(number: int) -> None:
            wallets.give(workspace=places[number % 2])
            connection.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(DepositAddress.objects.values_list("index", flat=True)) == [0, 1]
