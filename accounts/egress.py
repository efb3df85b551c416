"""
Requests to addresses that customers name, made so that they reach nothing of ours.

Every address that a name leads to is judged at the connection (``common.outbound``), and of the
answer only the status is kept.

What may be reached in spite of all this (a receiver on the same machine, plain HTTP) is named
by the operator in WEBHOOK_ALLOWED_TARGETS, as host:port.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpcore
import idna
from django.conf import settings
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from common import outbound
from common.outbound import Bounds, OutboundError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = outbound.Resolve
look_up = outbound.look_up

PORTS: Final = (443, 8443)
LONGEST_URL: Final = 2000
CONNECT_S: Final = 5.0
DEADLINE_S: Final = 15.0
MOST_BYTES: Final = 64 * 1024
# Names that lead home by custom; the addresses behind them would be refused as well.
OWN_NAMES: Final = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa")
LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
WRITTEN: Final = re.compile(r"[!-~]*")

# IANA's special-purpose registries for IPv4 (RFC 6890), multicast, what is reserved, the relay
# anycast of 6to4 (RFC 7526), and 168.63.129.16, public by number and Azure's host by meaning.
CLOSED_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
)
# Of IPv6 only global unicast is open. That leaves out ::, ::1, v4-mapped, 64:ff9b::/96 and
# 64:ff9b:1::/48 (NAT64), fc00::/7, fe80::/10, ff00::/8; closed within it: the IETF's block with
# Teredo and ORCHID, documentation, and 6to4, which carries any IPv4 address.
OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")
CLOSED_V6: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


class EgressError(Exception):
    """A request that got no answer; its text may be shown to the customer."""


class BadUrl(EgressError, ValueError):
    """An address that nothing is ever sent to."""


class NotPublic(EgressError):
    """A name that leads to an address that is not for everybody."""

    def __init__(self) -> None:
        # Not which address: that would tell strangers about our network.
        super().__init__("The name leads to an address that is not public.")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, in its one spelling."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL in its one spelling."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return f"{self.scheme}://{host}{'' if usual else f':{self.port}'}{self.path}"

    @property
    def allowed(self) -> bool:
        """Whether the operator named it."""
        return f"{self.host}:{self.port}" in settings.WEBHOOK_ALLOWED_TARGETS


@dataclass(frozen=True, slots=True)
class Reply:
    """What of an answer is kept."""

    status: int
    latency_ms: int


def parse(url: str) -> Target:
    """
    Read the URL of a customer; nothing is looked up.

    :raises BadUrl: with a sentence that says what to do
    """
    if len(url) > LONGEST_URL:
        words = _("A URL has at most %(most)s characters.")
        raise BadUrl(words % {"most": number_format(LONGEST_URL, force_grouping=True)})
    if "\\" in url or any(character.isspace() or not character.isprintable() for character in url):
        raise BadUrl(_("A URL has no spaces, backslashes or control characters."))
    try:
        parts = urlsplit(url)
        scheme, named, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise BadUrl(_("This is no URL; write https://host/path.")) from None
    if scheme not in ("https", "http") or not named:
        raise BadUrl(_("This is no URL; write https://host/path."))
    if "@" in parts.netloc:
        raise BadUrl(_("A URL has no user name or password; requests are signed instead."))
    if "#" in url:
        raise BadUrl(_("A URL of a webhook has no fragment; leave out what follows the #."))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not WRITTEN.fullmatch(path):
        raise BadUrl(_("Write what is not ASCII in the path as %XX."))
    if port is None:
        port = 443 if scheme == "https" else 80
    target = Target(scheme, _host(named), port, path)
    _check(target)
    return target


def _check(target: Target) -> None:
    if target.allowed:
        return
    if target.scheme != "https":
        raise BadUrl(_("A webhook is sent to https:// only."))
    if target.port not in PORTS:
        ports = _(" or ").join(map(str, PORTS))
        raise BadUrl(_("A webhook is sent to port %(ports)s only.") % {"ports": ports})
    if not _is_public_name(target.host):
        raise BadUrl(_("The host is not public; name one that everybody can reach."))


def _host(named: str) -> str:
    """A name in ASCII without its last dot, or an address as it is usually written."""
    if ":" in named:
        try:
            return str(ipaddress.IPv6Address("" if "%" in named else named))
        except ValueError:
            raise BadUrl(_("The host is no IPv6 address.")) from None
    try:
        name = idna.encode(named, uts46=True, transitional=False).decode().lower()
    except idna.IDNAError:
        # Underscores are no part of IDNA, but of names in use.
        name = named.lower()
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise BadUrl(_("The host is no name."))
    # Browsers and libc read 2130706433, 0x7f.1 and 017700000001 as 127.0.0.1; here they are names
    # that do not exist.
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise BadUrl(_("The host is no IPv4 address; write four numbers, 0 to 255.")) from None
    return name


def _is_public_name(host: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(host))
    except ValueError:
        return "." in host and not f".{host}".endswith(OWN_NAMES)


def is_public(address: Address) -> bool:
    """Whether an address is anybody's, and carries no other address inside."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in CLOSED_V4)
    if address.scope_id is not None or address not in OPEN_V6:
        return False
    return not any(address in network for network in CLOSED_V6)


def judged(target: Target, found: Iterable[str]) -> list[str]:
    """
    The addresses of a target, if every one of them may be connected to.

    :raises NotPublic: one may not, or there is none
    """
    addresses = [ipaddress.ip_address(text) for text in found]
    if not addresses or not (target.allowed or all(map(is_public, addresses))):
        raise NotPublic
    return [str(address) for address in addresses]


def post(
    *,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    resolve: Resolve = look_up,
    trust: ssl.SSLContext | None = None,
) -> Reply:
    """
    Send a body to a URL of a customer's.

    :raises EgressError: there was no answer, with a sentence why
    """
    target = parse(url)
    try:
        answer = outbound.exchange(
            method="POST",
            url=httpcore.URL(
                scheme=target.scheme.encode(),
                host=target.host.encode(),
                port=target.port,
                target=target.path.encode(),
            ),
            headers=[(name.encode(), text.encode()) for name, text in headers.items()],
            body=body,
            judge=partial(judged, target),
            bounds=Bounds(CONNECT_S, DEADLINE_S, MOST_BYTES),
            resolve=resolve,
            trust=trust,
        )
    except OutboundError as error:
        raise EgressError(str(error)) from None
    return Reply(status=answer.status, latency_ms=answer.latency_ms)
