from __future__ import annotations

import io
import json
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts import approvals
from accounts.actors import Staff
from accounts.approvals import Order
from accounts.errors import Conflict, Forbidden, Invalid, NotVerified
from accounts.models import AuditEvent, User
from billing.chains import wallets, watcher, xpub
from billing.chains.wallets import Offer
from billing.chains.xpub import NotAnXpub
from billing.models import ChainCursor, DepositAddress, ExtendedKey
from tests import staffing
from tests.billing import bank
from tests.billing.chains import counter
from tests.billing.chains.counter import FIRST, Counter
from tests.fakes import wallet

TEXT = wallet.xpub(wallet.account().public)


def set_key(text: str = TEXT, first: str = FIRST, path: str = wallet.PATH) -> ExtendedKey:
    return wallets.set_key(offered=wallets.offer(text=text, path=path, first_address=first))


def other_offer() -> Offer:
    """The key of the same wallet's second account."""
    node = wallet.account(number=1).public
    first = xpub.receiving_address(node, 0)
    return wallets.offer(text=wallet.xpub(node), path="m/44'/60'/1'", first_address=first)


def replace_key() -> None:
    """One asks, another approves."""
    asks, decides = (staffing.member(f"{n}@example.com", superuser=True) for n in ("anna", "bert"))
    asked = wallets.ask_replacement(offered=other_offer(), by=Staff(asks), reason="Lost")
    approvals.approve(approval=asked, by=Staff(decides))


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

    def test_another_key_is_not_set_beside_it(self) -> None:
        set_key()
        with pytest.raises(wallets.AlreadySet, match="takes two"):
            wallets.set_key(offered=other_offer())
        ExtendedKey.objects.update(retired_at=timezone.now())
        with pytest.raises(wallets.AlreadySet, match="takes two"):
            wallets.set_key(offered=other_offer())

    def test_it_is_in_the_audit_log(self) -> None:
        set_key()
        event = AuditEvent.objects.get(action="crypto.wallet_set")
        assert event.after == {"path": wallet.PATH, "first_address": FIRST}

    def test_a_path_that_is_none_of_an_account_is_refused(self) -> None:
        with pytest.raises(NotAnXpub, match="no path"):
            set_key(path="m/44/60/0")


@pytest.mark.django_db
class TestAskReplacement:
    def test_nothing_changes_before_a_second_person_approves(self) -> None:
        first = set_key()
        anna, bert = (staffing.member(f"{n}@example.com", superuser=True) for n in ("a", "b"))
        asked = wallets.ask_replacement(offered=other_offer(), by=Staff(anna), reason="Lost")
        with pytest.raises(Forbidden, match="somebody else"):
            approvals.approve(approval=asked, by=Staff(anna))
        assert ExtendedKey.objects.get(retired_at=None) == first
        approvals.approve(approval=asked, by=Staff(bert))
        assert ExtendedKey.objects.get(retired_at=None).path == "m/44'/60'/1'"
        assert ExtendedKey.objects.count() == 2

    def test_one_that_is_refused_or_expired_changes_nothing(self) -> None:
        set_key()
        anna, bert = (staffing.member(f"{n}@example.com", superuser=True) for n in ("a", "b"))
        asked = wallets.ask_replacement(offered=other_offer(), by=Staff(anna), reason="Lost")
        approvals.refuse(approval=asked, by=Staff(bert))
        with pytest.raises(Conflict):
            approvals.approve(approval=asked, by=Staff(bert))
        assert ExtendedKey.objects.get().path == wallet.PATH

    def test_the_others_read_the_first_address_and_never_the_key(self) -> None:
        set_key()
        anna = staffing.member("a@example.com", superuser=True)
        offered = other_offer()
        asked = wallets.ask_replacement(offered=offered, by=Staff(anna), reason="Lost")
        assert offered.first_address in asked.summary
        assert offered.text not in json.dumps(asked.payload) + asked.summary

    def test_a_payload_that_was_changed_is_refused(self) -> None:
        set_key()
        anna, bert = (staffing.member(f"{n}@example.com", superuser=True) for n in ("a", "b"))
        asked = wallets.ask_replacement(offered=other_offer(), by=Staff(anna), reason="Lost")
        asked.payload["first_address"] = FIRST
        with pytest.raises(Invalid, match="hardware wallet"):
            wallets._replace(Order(asked.payload, "Lost", asked.source, Staff(bert)))
        assert ExtendedKey.objects.get().path == wallet.PATH

    def test_one_that_was_sealed_under_a_key_that_is_gone_is_refused(
        self, settings: Settings
    ) -> None:
        set_key()
        anna, bert = (staffing.member(f"{n}@example.com", superuser=True) for n in ("a", "b"))
        asked = wallets.ask_replacement(offered=other_offer(), by=Staff(anna), reason="Lost")
        settings.ENCRYPTION_KEYS = {"another": bytes(32)}
        with pytest.raises(Invalid, match="has no key"):
            approvals.approve(approval=asked, by=Staff(bert))

    def test_a_key_that_is_in_use_meanwhile_is_refused_the_second_time(self) -> None:
        set_key()
        anna, bert = (staffing.member(f"{n}@example.com", superuser=True) for n in ("a", "b"))
        asked = [
            wallets.ask_replacement(offered=other_offer(), by=Staff(anna), reason="Lost")
            for _ in range(2)
        ]
        approvals.approve(approval=asked[0], by=Staff(bert))
        with pytest.raises(Invalid, match="is or was"):
            approvals.approve(approval=asked[1], by=Staff(bert))


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

    def test_a_replacement_is_asked_for_by_a_member_of_staff(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        set_key()
        offered = other_offer()
        words = ("--path", offered.path, "--first-address", offered.first_address, "--json")

        def ask(*more: str) -> None:
            monkeypatch.setattr("sys.stdin", io.StringIO(offered.text + "\n"))
            call_command("set_xpub", *words, "--replace", *more)

        with pytest.raises(CommandError, match="--staff"):
            ask()
        User.objects.create_user("guest@example.com", "a-long-pass")
        with pytest.raises(CommandError, match="no member of staff"):
            ask("--staff", "guest@example.com", "--reason", "Lost")
        staffing.member("anna@example.com", superuser=True)
        ask("--staff", "anna@example.com", "--reason", "Lost")
        assert json.loads(capsys.readouterr().out)["state"] == "pending"
        assert ExtendedKey.objects.get().path == wallet.PATH

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
        replace_key()
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
