"""
Requests to addresses that customers name, made so that they reach nothing of ours.

The name is looked up here, once; every address it leads to is judged, and the connection goes
to an address that was judged, so a name that changes its mind in between changes nothing. TLS
and the Host header have the name. No redirect is followed, no proxy of the environment is used,
the whole exchange has one deadline and of the answer only the status is kept.

What may be reached in spite of all this (a receiver on the same machine, plain HTTP) is named
by the operator in WEBHOOK_ALLOWED_TARGETS, as host:port.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import httpx
import idna
from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

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
        raise BadUrl(f"A URL has at most {LONGEST_URL} characters.")
    if "\\" in url or any(character.isspace() or not character.isprintable() for character in url):
        raise BadUrl("A URL has no spaces, backslashes or control characters.")
    try:
        parts = urlsplit(url)
        scheme, named, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise BadUrl("This is no URL; write https://host/path.") from None
    if scheme not in ("https", "http") or not named:
        raise BadUrl("This is no URL; write https://host/path.")
    if "@" in parts.netloc:
        raise BadUrl("A URL has no user name or password; requests are signed instead.")
    if "#" in url:
        raise BadUrl("A URL of a webhook has no fragment; leave out what follows the #.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not WRITTEN.fullmatch(path):
        raise BadUrl("Write what is not ASCII in the path as %XX.")
    if port is None:
        port = 443 if scheme == "https" else 80
    target = Target(scheme, _host(named), port, path)
    _check(target)
    return target


def _check(target: Target) -> None:
    if target.allowed:
        return
    if target.scheme != "https":
        raise BadUrl("A webhook is sent to https:// only.")
    if target.port not in PORTS:
        raise BadUrl(f"A webhook is sent to port {' or '.join(map(str, PORTS))} only.")
    if not _is_public_name(target.host):
        raise BadUrl("The host is not public; name one that everybody can reach.")


def _host(named: str) -> str:
    """A name in ASCII without its last dot, or an address as it is usually written."""
    if ":" in named:
        try:
            return str(ipaddress.IPv6Address("" if "%" in named else named))
        except ValueError:
            raise BadUrl("The host is no IPv6 address.") from None
    try:
        name = idna.encode(named, uts46=True, transitional=False).decode().lower()
    except idna.IDNAError:
        # Underscores are no part of IDNA, but of names in use.
        name = named.lower()
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise BadUrl("The host is no name.")
    # Browsers and libc read 2130706433, 0x7f.1 and 017700000001 as 127.0.0.1; here they are names
    # that do not exist.
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise BadUrl("The host is no IPv4 address; write four numbers of 0 to 255.") from None
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


def look_up(host: str, port: int) -> list[str]:
    """
    Every address of a name, as the system knows it.

    :raises OSError: it has none
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_with_zone(entry[4]) for entry in found))


def _with_zone(place: tuple[Any, ...]) -> str:
    zone = place[3] if len(place) == 4 else 0
    return f"{place[0]}%{zone}" if zone and "%" not in str(place[0]) else str(place[0])


def judged(target: Target, found: Iterable[str]) -> list[str]:
    """
    The addresses of a target, if every one of them may be connected to.

    :raises NotPublic: one may not, or there is none
    """
    addresses = [ipaddress.ip_address(text) for text in found]
    if not addresses or not (target.allowed or all(map(is_public, addresses))):
        raise NotPublic
    return [str(address) for address in addresses]


class GuardedStream(httpcore.NetworkStream):
    """A connection whose every step ends at one deadline."""

    def __init__(self, inner: httpcore.NetworkStream, ends: float) -> None:
        self.inner, self.ends = inner, ends

    def _left(self, timeout: float | None, late: type[Exception]) -> float:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise late("the deadline is over")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read, until the deadline."""
        return self.inner.read(max_bytes, self._left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write, until the deadline."""
        self.inner.write(buffer, self._left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, under the name that was asked for."""
        left = self._left(timeout, httpcore.ConnectTimeout)
        return GuardedStream(self.inner.start_tls(ssl_context, server_hostname, left), self.ends)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a connection."""
        return self.inner.get_extra_info(info)


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to judged addresses of one target, and to nothing else."""

    def __init__(self, target: Target, resolve: Resolve, ends: float) -> None:
        self.target, self.resolve, self.ends = target, resolve, ends
        self.plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """
        Look the name up, judge what it leads to, connect to that.

        :raises NotPublic: it leads where nothing is sent to
        """
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("The name has no address.") from None
        failure: Exception = httpcore.ConnectTimeout()
        for address in judged(self.target, found):
            left = min(CONNECT_S, self.ends - time.monotonic())
            if left <= 0:
                break
            try:
                stream = self.plain.connect_tcp(address, port, timeout=left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return GuardedStream(stream, self.ends)
        raise failure


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
    begun = time.monotonic()
    network = GuardedNetwork(target, resolve, begun + DEADLINE_S)
    context = trust or httpx.create_ssl_context(trust_env=False)
    try:
        with httpcore.ConnectionPool(ssl_context=context, network_backend=network) as pool:
            status = _exchange(pool, target, headers, body)
    except (httpcore.TimeoutException, TimeoutError):
        raise EgressError(f"No answer within {DEADLINE_S:.0f} seconds.") from None
    except httpcore.ConnectError as error:
        raise EgressError(_why(error)) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise EgressError("The connection broke off, or the answer was not HTTP.") from None
    return Reply(status=status, latency_ms=round((time.monotonic() - begun) * 1000))


def _exchange(
    pool: httpcore.ConnectionPool, target: Target, headers: Mapping[str, str], body: bytes
) -> int:
    url = httpcore.URL(
        scheme=target.scheme.encode(),
        host=target.host.encode(),
        port=target.port,
        target=target.path.encode(),
    )
    steps = {"connect": CONNECT_S, "read": DEADLINE_S, "write": DEADLINE_S, "pool": DEADLINE_S}
    with pool.stream(
        "POST",
        url,
        headers=[(name.encode(), text.encode()) for name, text in headers.items()],
        content=body,
        extensions={"timeout": steps},
    ) as response:
        # Read a little, so that a well-behaved endpoint can finish its answer; keep none of it.
        received = 0
        for part in response.iter_stream():
            received += len(part)
            if received > MOST_BYTES:
                break
        return int(response.status)


def _why(error: httpcore.ConnectError) -> str:
    text = str(error)
    if "certificate" in text.lower() or "ssl" in text.lower() or "tls" in text.lower():
        return "The TLS certificate is not valid for this host, or TLS failed."
    if "no address" in text:
        return text
    return "The connection was refused."
