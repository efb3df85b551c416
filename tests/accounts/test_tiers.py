from __future__ import annotations

import pytest

from accounts import tiers
from accounts.errors import Missing
from accounts.models import Tier


@pytest.mark.django_db
class TestDefault:
    def test_it_is_sixty_a_minute_and_a_hundred_dollars_a_day(self) -> None:
        tier = tiers.default()
        assert (tier.slug, tier.default_rpm) == ("default", 60)
        assert tier.default_daily_nanos == 100 * 10**9
        assert tier.default_monthly_nanos == 1_000 * 10**9

    def test_without_one_the_operator_is_told(self) -> None:
        Tier.objects.update(is_default=False)
        with pytest.raises(Missing, match="admin site"):
            tiers.default()


@pytest.mark.django_db
class TestBySlug:
    def test_it_is_found(self) -> None:
        assert tiers.by_slug(slug="default") == tiers.default()

    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(Missing, match="gold"):
            tiers.by_slug(slug="gold")
