from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import AuditEvent
from billing.models import Deposit, UnlistedToken
from tests.billing.chains import counter
from tests.billing.chains.conftest import chain, shop
from tests.billing.chains.counter import FAKE, USDC, Counter
from tests.fakes.evm import Event
from tests.pages import Inline
from tests.staff.desk import clerk, desk, open_form, take

__all__ = ["chain", "shop"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(db: None) -> Client:
    return desk(clerk(superuser=True, name="boss"))


@pytest.fixture
def held(shop: Counter, settings: Settings, tmp_path: Path) -> Deposit:
    """A deposit from somebody on this server's own list."""
    urls = [each.url for each in shop.chain.endpoints]
    counter.configure(settings, tmp_path, counter.plan(urls, blocked_senders=[FAKE]))
    address = shop.customer()
    shop.chain.mine(shop.chain.tx(Event(USDC, FAKE, address.address, 5_000_000)))
    shop.chain.finalise()
    shop.look()
    return Deposit.objects.get(state="suspended")


def where(step: str, row: Deposit | UnlistedToken) -> str:
    """The page of a step."""
    return reverse(f"admin:billing_{row._meta.model_name}_{step}", args=[row.pk])


class TestDeposits:
    def test_released_it_is_credited_and_written_down(
        self, shop: Counter, held: Deposit, staff: Client
    ) -> None:
        listed = staff.get(reverse("admin:billing_deposit_changelist"), {"state": "suspended"})
        assert held.public_id in listed.content.decode()
        page = staff.get(reverse("admin:billing_deposit_change", args=[held.pk])).content.decode()
        assert Inline(page).found == []
        assert "a sender on this server&#x27;s own list" in page
        take(staff, where("release", held), reason="A known exchange")
        assert shop.credited(held.address) == 5_000_000
        event = AuditEvent.objects.get(action="crypto.deposit_released")
        assert event.after["reason"] == "A known exchange"
        assert staff.get(where("release", held)).status_code == 302

    def test_rejected_it_is_never_credited(
        self, shop: Counter, held: Deposit, staff: Client
    ) -> None:
        take(staff, where("reject", held), reason="Stolen")
        held.refresh_from_db()
        assert held.state == "rejected"
        assert staff.get(where("release", held)).status_code == 302
        shop.chain.mine(shop.pay(held.address, 2_000_000))
        shop.chain.finalise()
        shop.look()
        assert shop.credited(held.address) == 2_000_000
        assert counter.books_balance()

    def test_of_a_listed_sender_only_rejection_is_offered(
        self, held: Deposit, staff: Client
    ) -> None:
        Deposit.objects.filter(pk=held.pk).update(doubt="listed")
        page = staff.get(reverse("admin:billing_deposit_change", args=[held.pk])).content.decode()
        assert where("reject", held) in page
        assert where("release", held) not in page
        assert staff.get(where("release", held)).status_code == 302

    def test_it_takes_the_right(self, held: Deposit) -> None:
        looker = desk(clerk("billing.view_deposit"))
        assert looker.post(where("release", held), {"reason": "Mine"}).status_code == 403


class TestUnlistedTokens:
    @pytest.fixture
    def token(self, shop: Counter) -> UnlistedToken:
        shop.chain.mine(shop.pay(shop.customer(), 5_000_000, FAKE))
        shop.chain.finalise()
        shop.look()
        return UnlistedToken.objects.get()

    def test_one_is_resolved_once(self, token: UnlistedToken, staff: Client) -> None:
        url = where("resolve", token)
        form = open_form(staff, url) | {"resolution": "worthless", "reason": "Dust"}
        for _ in range(2):
            staff.post(url, form, follow=True)
        token.refresh_from_db()
        assert (token.resolution, token.note) == ("worthless", "Dust")
        assert AuditEvent.objects.filter(action="crypto.unlisted_resolved").count() == 1

    def test_before_it_is_on_the_list_nothing_is_credited(
        self, token: UnlistedToken, staff: Client
    ) -> None:
        page = take(staff, where("resolve", token), resolution="credited")
        assert page.status_code == 422
        assert "CHAINS_FILE" in page.content.decode()
        token.refresh_from_db()
        assert token.resolution == ""

    def test_it_takes_the_right(self, token: UnlistedToken) -> None:
        looker = desk(clerk("billing.view_unlistedtoken"))
        answer = looker.post(where("resolve", token), {"resolution": "worthless"})
        assert answer.status_code == 403
