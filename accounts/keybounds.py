"""
What a key may give: never more than it has itself, in any respect.

A management key's own models, addresses, expiry and limits bind whatever it makes, rotates,
enables or changes, itself included, as its scopes do (keyrights). People are bound by their
role alone, so a key with such bounds gives nobody a role. What a new key's maker leaves out is
given as wide as the maker may.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, ClassVar, Final, Protocol, TypeVar

from accounts.actors import Actor
from accounts.errors import Forbidden, ForeignWorkspace
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, Workspace

BOUND: Final = ("models", "rpm", "tpm", "max_streams", "ips", "expires_at")

# What a layer above binds a key by. It is asked whether the first, which acts, may hand the
# second on, with whether that one is new: what is new is narrowed, what is not is refused.
on_handed: Final[list[Callable[[KeyRecord, ApiKey, bool], None]]] = []

# Asked whether a layer above binds a key more narrowly than a person in a workspace is; it names
# by what.
on_person: Final[list[Callable[[KeyRecord, Workspace], str | None]]] = []


class Terms(Protocol):
    """What of a key is bound."""

    @property
    def models(self) -> Collection[str] | None:
        """The models it may call."""

    @property
    def ips(self) -> Sequence[str]:
        """The networks it may be used from."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends."""

    @property
    def rpm(self) -> int | None:
        """Requests per minute."""

    @property
    def tpm(self) -> int | None:
        """Tokens per minute."""

    @property
    def max_streams(self) -> int | None:
        """Streams at once."""


class Draft(Terms, Protocol):
    """The terms of a key to be made: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Given = TypeVar("Given", bound=Draft)


def inherit(terms: Given, *, by: Actor, carried: Sequence[Workspace]) -> Given:
    """The terms, each that was left open as wide as its maker and the tiers may give it."""
    if not isinstance(by, KeyRecord):
        return terms
    own = {
        "models": None if by.models is None else sorted(by.models),
        "ips": [str(network) for network in by.ips],
        "expires_at": by.expires_at,
        "rpm": None if by.rpm is None else min(by.rpm, *(place.tier.max_rpm for place in carried)),
        "tpm": by.tpm,
        "max_streams": by.max_streams,
    }
    left_open = {name: own[name] for name in BOUND if getattr(terms, name) in (None, [])}
    return replace(terms, **left_open)


def require(
    *, by: Actor, terms: Terms, carried: Sequence[Workspace], names: Collection[str] = BOUND
) -> None:
    """
    Prove that someone may give these terms; ``names`` are those that are asked about.

    :raises Forbidden: who acts is a key, and it is bound more narrowly itself
    """
    if not isinstance(by, KeyRecord):
        return
    within = {
        "models": by.models is None
        or (terms.models is not None and by.models.issuperset(terms.models)),
        "ips": not by.ips or _inside(terms.ips, by.ips),
        "expires_at": by.expires_at is None
        or (terms.expires_at is not None and terms.expires_at <= by.expires_at),
        "rpm": all(_rpm(terms.rpm, by, place) for place in carried),
        "tpm": _at_most(terms.tpm, by.tpm),
        "max_streams": _at_most(terms.max_streams, by.max_streams),
    }
    for name in names:
        if not within[name]:
            raise beyond(name)


def beyond(name: str) -> Forbidden:
    """The refusal of a term that is wider than the key's own."""
    return Forbidden(f"This key cannot give a wider {name} than it has itself.", param=name)


def hand_on(*, by: Actor, key: ApiKey, new: bool = False) -> None:
    """
    Prove that a key, whole as it is, is within the bounds of who makes or revives it.

    :raises Forbidden: who acts is a key, and it is bound more narrowly itself
    """
    if not isinstance(by, KeyRecord):
        return
    require(by=by, terms=key, carried=list(_carried(key)))
    for hook in on_handed:
        hook(by, key, new)


def require_unbound(*, by: Actor, workspace: Workspace) -> None:
    """
    Prove that someone may give a person more rights: no key's bounds would hold for what they do.

    :raises Forbidden: who acts is a key with bounds of its own
    """
    if not isinstance(by, KeyRecord):
        return
    bounds = [name for name in BOUND if getattr(by, name) not in (None, ())]
    bounds += [name for hook in on_person if (name := hook(by, workspace)) is not None]
    if bounds:
        raise Forbidden(
            f"This key is bound by its {bounds[0]}, and a person would not be. Sign in, or use a"
            " key without bounds of its own.",
            param="role",
        )


def _carried(key: ApiKey) -> Collection[Workspace]:
    return Workspace.objects.select_related("tier").filter(key_workspaces__key=key)


def _inside(ips: Sequence[str], own: Sequence[IPv4Network | IPv6Network]) -> bool:
    return bool(ips) and all(any(_subnet(ip_network(ip), net) for net in own) for ip in ips)


def _subnet(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


def _rpm(limit: int | None, by: KeyRecord, place: Workspace) -> bool:
    own = by.workspace(place.public_id)
    if own is None:
        raise ForeignWorkspace("The key does not carry this workspace.")
    return (place.tier.default_rpm if limit is None else limit) <= own.rpm


def _at_most(limit: int | None, own: int | None) -> bool:
    return own is None or (limit is not None and limit <= own)
