"""What may be written on a key besides its scopes: each value proved and normalised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from accounts.errors import Invalid
from accounts.models import Workspace

SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
MAX_LIST: Final = 200
MAX_RPM: Final = 1_000_000
MAX_TPM: Final = 1_000_000_000
MAX_STREAMS: Final = 100_000


def models(names: Iterable[str] | None) -> list[str] | None:
    """The models a key may call, None for all.

    :raises Invalid: an empty or too long list, or a name that no model has
    """
    if names is None:
        return None
    unique = _bounded(list(dict.fromkeys(names)), param="models")
    if not unique:
        words = _("Name at least one model, or leave the list out for all.")
        raise Invalid(words, param="models")
    for name in unique:
        if not SLUG.fullmatch(name):
            raise Invalid(_("%(name)r is no name of a model.") % {"name": name}, param="models")
    return unique


def ips(texts: Iterable[str]) -> list[str]:
    """Addresses and networks a key may be used from, as CIDR; empty for anywhere.

    :raises Invalid: one is neither, or there are too many
    """
    networks = []
    for text in texts:
        try:
            networks.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            words = _("%(text)r is no IP address or network.")
            raise Invalid(words % {"text": text}, param="ips") from None
    return _bounded(list(dict.fromkeys(networks)), param="ips")


def _bounded(values: list[str], *, param: str) -> list[str]:
    if len(values) > MAX_LIST:
        raise Invalid(_("At most %(most)d entries.") % {"most": MAX_LIST}, param=param)
    return values


def rpm(limit: int | None, *, carried: Sequence[Workspace], past_tier: bool = False) -> int | None:
    """Requests per minute, None for the tier's default.

    :raises Invalid: negative, or more than a tier allows and not set by an operator
    """
    if limit is None:
        return None
    if not 0 <= limit <= MAX_RPM:
        words = _("A rate limit is 0 to %(most)s requests per minute.")
        raise Invalid(words % {"most": _grouped(MAX_RPM)}, param="rpm")
    most = min((workspace.tier.max_rpm for workspace in carried), default=MAX_RPM)
    if limit > most and not past_tier:
        words = _("Your tier allows at most %(most)s requests per minute.")
        raise Invalid(words % {"most": _grouped(most)}, param="rpm")
    return limit


def tpm(limit: int | None) -> int | None:
    """Tokens per minute, None for no limit.

    :raises Invalid: negative or absurd
    """
    if limit is not None and not 0 <= limit <= MAX_TPM:
        words = _("A token limit is 0 to %(most)s tokens per minute.")
        raise Invalid(words % {"most": _grouped(MAX_TPM)}, param="tpm")
    return limit


def max_streams(limit: int | None) -> int | None:
    """Streams open at once, None for no limit.

    :raises Invalid: negative or absurd
    """
    if limit is not None and not 0 <= limit <= MAX_STREAMS:
        words = _("A key may have 0 to %(most)s streams at once.")
        raise Invalid(words % {"most": _grouped(MAX_STREAMS)}, param="max_streams")
    return limit


def expiry(moment: datetime | None, *, now: datetime) -> datetime | None:
    """When a key ends, None for never.

    :raises Invalid: that is over already, or has no time zone
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        words = _("An expiry needs a time zone, e.g. 2030-01-31T00:00:00Z.")
        raise Invalid(words, param="expires_at")
    if moment <= now:
        raise Invalid(_("The expiry is in the past."), param="expires_at")
    return moment


def _grouped(number: int) -> str:
    return number_format(number, force_grouping=True)
