from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.translation import override

from accounts import keys, workspaces
from accounts.models import Tier
from billing import limits
from tests import pages
from tests.billing.bank import admit, customer, verdicts

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def tier() -> Tier:
    """Give the default tier maxima to run into."""
    tier = Tier.objects.get(is_default=True)
    tier.max_daily_nanos, tier.max_monthly_nanos = 10**12, 10**13
    tier.save()
    return tier


class TestSetWorkspaceCaps:
    def test_they_hold_at_once(self) -> None:
        one = customer(usd=10_000)
        limits.set_workspace_caps(by=None, workspace=one.workspace, daily=1000, monthly=2000)
        assert limits.workspace_caps(workspace=one.workspace) == (1000, 2000)
        assert verdicts(admit(one.ask(1001))) == ["ws_day"]

    @pytest.mark.parametrize(("daily", "monthly"), [(10**12 + 1, 1), (1, None), (None, 1)])
    def test_the_tiers_maximum_holds(self, daily: int | None, monthly: int | None) -> None:
        one = customer()
        with pytest.raises(limits.AboveTier):
            limits.set_workspace_caps(
                by=None, workspace=one.workspace, daily=daily, monthly=monthly
            )

    def test_its_bound_is_told_as_the_reader_writes_it(self) -> None:
        with override("de"), pytest.raises(limits.AboveTier, match=r" 1\.000,00\sUSD"):
            limits.set_workspace_caps(
                by=None, workspace=customer().workspace, daily=10**12 + 1, monthly=1
            )

    def test_an_operator_may_pass_it(self) -> None:
        one = customer()
        limits.set_workspace_caps(
            by=None, workspace=one.workspace, daily=None, monthly=None, past_tier=True
        )
        assert limits.workspace_caps(workspace=one.workspace) == (None, None)

    def test_negative_is_refused(self) -> None:
        with pytest.raises(ValueError, match="0 or more"):
            limits.set_workspace_caps(by=None, workspace=customer().workspace, daily=-1, monthly=1)


class TestTakeOver:
    def test_a_successor_has_the_caps_of_the_key_it_replaces(self) -> None:
        alice = pages.person("alice")
        key = pages.make_key(alice)
        limits.set_key_caps(by=alice, key=key, daily=7, monthly=None)

        new, _ = keys.rotate(key=key, overlap=timedelta(0), by=alice)

        assert limits.key_caps(key=new) == (7, None)


class TestSetKeyCaps:
    def test_none_leaves_the_workspaces_caps(self) -> None:
        one = customer(usd=10_000)
        one.caps(ws_day=500)
        limits.set_key_caps(by=None, key=one.key, daily=None, monthly=None)
        assert limits.key_caps(key=one.key) == (None, None)
        assert verdicts(admit(one.ask(501))) == ["ws_day"]

    def test_the_tiers_maximum_holds(self) -> None:
        one = customer()
        with pytest.raises(limits.AboveTier):
            limits.set_key_caps(by=None, key=one.key, daily=10**12 + 1, monthly=None)


class TestApplyTier:
    def test_moving_up_moves_default_caps_and_leaves_chosen_ones(self, tier: Tier) -> None:
        one, chooser = customer(), customer()
        for each in (one, chooser):
            limits.apply_tier(workspace=each.workspace)
        limits.set_key_caps(
            by=None,
            key=one.key,
            daily=tier.default_daily_nanos,
            monthly=tier.default_monthly_nanos,
        )
        limits.set_key_caps(by=None, key=chooser.key, daily=5, monthly=6)
        bigger = Tier.objects.create(
            slug="bigger", name="Bigger", default_rpm=1, max_rpm=1,
            default_daily_nanos=7 * 10**11, max_daily_nanos=10**12,
            default_monthly_nanos=7 * 10**12, max_monthly_nanos=10**13,
        )  # fmt: skip
        for each in (one, chooser):
            workspaces.move_to_tier(workspace=each.workspace, tier=bigger)
        assert limits.workspace_caps(workspace=one.workspace) == (7 * 10**11, 7 * 10**12)
        assert limits.key_caps(key=one.key) == (7 * 10**11, 7 * 10**12)
        assert limits.key_caps(key=chooser.key) == (5, 6)
