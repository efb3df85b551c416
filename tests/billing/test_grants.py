from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from accounts import signup
from accounts.models import User, Workspace
from billing import grants, ledger
from billing.models import Lot, Transfer
from common import ids
from tests.billing.bank import Customer, bill, customer, settle, void

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 1, tzinfo=UTC)


def give(one: Customer, amount: int, days: int | None = None, **more: Any) -> bool:
    """Grant dollars that expire some days from NOW."""
    expires = None if days is None else NOW + timedelta(days=days)
    return grants.grant(
        workspace=one.workspace,
        asset="USD",
        amount=amount,
        reason="test",
        expires_at=expires,
        **more,
    )


def lots() -> list[tuple[int, int, int]]:
    """Return amount, consumed and expired of each lot."""
    return list(Lot.objects.order_by("id").values_list("amount", "consumed", "expired"))


class TestGrant:
    def test_it_is_granted_money_with_a_lot(self) -> None:
        one = customer()
        give(one, 500, days=5)
        assert (one.balance().granted, one.balance().paid) == (500, 0)
        [lot] = Lot.objects.all()
        assert (lot.amount, lot.expires_at) == (500, NOW + timedelta(days=5))

    def test_paid_money_has_no_lot_and_no_expiry(self) -> None:
        one = customer()
        give(one, 500, paid=True)
        assert (one.balance().granted, one.balance().paid) == (0, 500)
        assert lots() == []
        with pytest.raises(ValueError, match="does not expire"):
            give(one, 500, days=5, paid=True)

    def test_a_source_is_given_once(self) -> None:
        one = customer()
        source = ids.source("test", "1")
        assert give(one, 500, source=source)
        assert not give(one, 500, source=source)
        assert one.balance().granted == 500
        assert len(lots()) == 1

    def test_it_says_who_gave_it(self) -> None:
        staff = User.objects.create_user("staff@example.com", "x")
        one = customer()
        give(one, 500, by=staff)
        assert Transfer.objects.get().created_by == Lot.objects.get().created_by == staff

    def test_an_asset_without_accounts_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no asset"):
            grants.grant(workspace=customer().workspace, asset="EUR", amount=1, reason="x")

    @pytest.mark.parametrize("amount", [0, -5])
    def test_an_amount_is_positive(self, amount: int) -> None:
        with pytest.raises(ledger.NotATransfer):
            give(customer(), amount)


class TestExpireDue:
    def test_what_is_left_goes_to_breakage(self) -> None:
        one = customer()
        give(one, 500, days=1)
        one.use(200)
        assert grants.expire_due(now=NOW) == 0
        assert grants.expire_due(now=NOW + timedelta(days=1)) == 1
        assert lots() == [(500, 200, 300)]
        assert one.balance().total == 0
        expired = Transfer.objects.get(kind="grant.expired")
        assert expired.credit_id == ledger.house_account(kind="breakage", asset="USD")
        assert grants.expire_due(now=NOW + timedelta(days=1)) == 0

    def test_the_first_to_expire_is_spent_first(self) -> None:
        one = customer()
        give(one, 100)
        give(one, 100, days=9)
        give(one, 100, days=1)
        one.use(150)
        grants.expire_due(now=NOW + timedelta(days=2))
        assert lots() == [(100, 0, 0), (100, 50, 0), (100, 100, 0)]

    def test_spending_before_a_new_lot_is_not_the_new_lots(self) -> None:
        one = customer()
        give(one, 100, days=9)
        one.use(60)
        give(one, 100, days=1)
        one.use(50)
        grants.expire_due(now=NOW + timedelta(days=1))
        assert lots() == [(100, 60, 0), (100, 50, 50)]
        assert one.balance().granted == 40

    def test_what_calls_hold_waits_until_they_close(self) -> None:
        one = customer()
        give(one, 500, days=1)
        charged, _ = one.hold(200)
        voided, _ = one.hold(100)
        after = NOW + timedelta(days=2)
        assert grants.expire_due(now=after) == 1
        assert lots() == [(500, 0, 200)]
        settle(bill(charged, 150))
        void(voided)
        assert grants.expire_due(now=after) == 1
        assert lots() == [(500, 150, 350)]
        assert one.balance().total == 0

    def test_tokens_expire_too(self) -> None:
        one = customer()
        grants.grant(workspace=one.workspace, asset="TOK", amount=30, reason="x", expires_at=NOW)
        one.use(5_000_000, tokens=True, want=2)
        assert grants.expire_due(now=NOW) == 1
        assert lots() == [(30, 2, 28)]


class TestWelcome:
    def test_a_proved_address_gets_the_sign_up_grant_once(self, settings: Settings) -> None:
        settings.SIGNUP_GRANT_NANOS = 5 * 10**9
        user = signup.register(email="a@example.com", password="correct horse battery")
        workspace = Workspace.objects.get(personal_of=user)
        assert ledger.balance(workspace_id=workspace.pk, asset="USD").total == 0
        signup.announce_verified(user=user)
        settings.SIGNUP_GRANT_NANOS = 7 * 10**9
        signup.announce_verified(user=user)
        assert ledger.balance(workspace_id=workspace.pk, asset="USD").granted == 5 * 10**9

    def test_without_a_grant_nothing_is_given(self, settings: Settings) -> None:
        settings.SIGNUP_GRANT_NANOS = 0
        signup.register(email="a@example.com", password="correct horse battery", verified=True)
        assert Transfer.objects.count() == 0

    def test_sign_up_opens_the_accounts(self) -> None:
        user = signup.register(email="a@example.com", password="correct horse battery")
        workspace = Workspace.objects.get(personal_of=user)
        assert workspace.accounts.count() == 4
