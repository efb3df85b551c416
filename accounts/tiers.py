"""Tiers: the standing that decides rate limits and spending caps."""

from __future__ import annotations

from accounts.errors import Missing
from accounts.models import Tier


def default() -> Tier:
    """The tier of a new workspace.

    :raises Missing: an operator removed it
    """
    tier = Tier.objects.filter(is_default=True).first()
    if tier is None:
        raise Missing("No tier is marked as the default; mark one in the admin site.")
    return tier


def by_slug(*, slug: str) -> Tier:
    """The tier with this slug.

    :raises Missing: there is none
    """
    tier = Tier.objects.filter(slug=slug).first()
    if tier is None:
        raise Missing(f"There is no tier {slug!r}.")
    return tier
