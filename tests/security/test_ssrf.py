"""
Whatever address a customer writes, nothing that listens inside is ever connected to.

A listener on every address of this machine counts who comes; each test ends with its count. The
guard of all tests (tests/conftest.py) sees attempts at addresses elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts import egress, webhookdeliveries, webhooks
from accounts.egress import EgressError
from accounts.models import WebhookEndpoint
from tests.api.conftest import Tenant, make_tenant, refusal

# RFC 6890 and IANA's special-purpose registries, multicast, and what carries another address.
INSIDE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "::127.0.0.0/104", "::ffff:0:0/96", "::ffff:0:0:0/96"),
    *("64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
    *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)


def wide(text: str) -> str:
    """A text in the full-width forms that IDNA maps to ASCII."""
    return "".join(chr(ord(each) + 0xFEE0) for each in text)


# What some resolver, browser or parser takes for this machine; PORT is where the listener is.
SPELLINGS = (
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0"),  # noqa: S104 - refused
    *("0.1.2.3", "0.255.255.255"),
    *("2130706433", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1"),
    *("0177.0.0.01", "00000177.1", "127.0.0.1.", "127.1.", "0x7f000001.", "2130706433."),
    *("100.127.255.254", "169.254.169.254", "4294967295", "127.0.0.256", "127.0.0.1.."),
    *("[::1]", "[::]", "[0::1]", "[0000:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "[fec0::1]", "[ff01::1]", "[ff02::1]", "[fe80::1%25lo]", "[::1%25lo]"),
    *("[::1].", "[[::1]]", "[v1.127.0.0.1]", "[127.0.0.1]"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "ip6-localhost", "localhost。"),
    *("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", wide("localhost"), "local\u00adhost", "loca\u200blhost"),
    *("①②⑦.⓪.⓪.①", "127。0。0。1", "127｡0｡0｡1", wide("127.0.0.1"), wide("0x7f000001")),
    *("example.com@127.0.0.1", "example.com:443@127.0.0.1", "127.0.0.1%2523@example.com"),
    *("127.0.0.1\\@example.com", "example.com\\@127.0.0.1", "127.0.0.1#@example.com"),
    *("@127.0.0.1", ":@127.0.0.1", "127.0.0.1%00.example.com", "127.0.0.1%20.example.com"),
    *("127.0.0.1\t.example.com", "127.0.0.1\n", " 127.0.0.1", "%31%32%37.0.0.1", "127.0.0.1%2e"),
)
URLS = [f"https://{host}:PORT/" for host in SPELLINGS] + [
    *("http://127.0.0.1:PORT/", "HTTP://127.0.0.1:PORT", "//127.0.0.1:PORT/", "https:127.0.0.1"),
    *("https:///127.0.0.1:PORT/", "https:\\\\127.0.0.1:PORT\\", "gopher://127.0.0.1:PORT/_x"),
    *("file:///etc/passwd", "ftp://127.0.0.1:PORT/", "unix:/run/x.sock", "data:,x", "javascript:1"),
    *("https://example.com:22/", "https://example.com:0/", "https://example.com:65536/"),
    *(
        "https://example.com:-1/",
        "https://example.com:PORT:PORT/",
        f"https://example.com:{wide('443')}/",
    ),
    *("https://example.com:PORT@127.0.0.1:PORT/", "https://127.0.0.1:PORT#.example.com/"),
    *("https://127.0.0.1:PORT?.example.com/", "https://127.0.0.1:PORT\r\nHost: x/"),
]
ELSEWHERE = "93.184.215.14"
NAME = "hooks.example.com"


class Listener:
    """Takes whoever comes, by either version of IP, says one thing and counts."""

    def __init__(self, said: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") -> None:
        self.said, self.came = said, 0
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        place = ("::" if both else "0.0.0.0", 0)  # noqa: S104 - every address is the point
        self.socket = socket.create_server(place, family=family, dualstack_ipv6=both)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.came += 1
            with client:
                client.settimeout(2)
                try:
                    client.recv(65536)
                    client.sendall(self.said)
                except OSError:
                    continue


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """What may not be reached; its port is one that webhooks may name."""
    made = Listener()
    monkeypatch.setattr(egress, "PORTS", (443, made.port))
    yield made
    made.socket.close()


def libc(host: str, _port: int) -> list[str]:
    """A resolver that reads what libc reads: 127.1, 0x7f000001 and 017700000001 too."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return [socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))]


def send(url: str, resolve: egress.Resolve) -> egress.Reply:
    """Send a small body."""
    return egress.post(url=url, headers={}, body=b"{}", resolve=resolve)


def test_the_listener_would_see_whoever_came(inside: Listener) -> None:
    with socket.create_connection(("127.0.0.1", inside.port), timeout=5) as client:
        client.sendall(b"x")
        assert client.recv(8) == b"HTTP/1.1"

    assert inside.came == 1


class TestWhatIsWritten:
    def test_leads_inside_in_no_spelling(self, inside: Listener) -> None:
        for url in URLS:
            with pytest.raises(EgressError, match=r"^[A-Z].*\.$"):
                send(url.replace("PORT", str(inside.port)), libc)

        assert inside.came == 0

    @pytest.mark.django_db
    def test_is_kept_in_no_spelling(self, inside: Listener) -> None:
        program = make_tenant("alice").session()
        before = WebhookEndpoint.objects.count()
        for url in URLS:
            body = {"url": url.replace("PORT", str(inside.port)), "events": ["key.created"]}
            error = refusal(program.ask("POST", "webhooks", body))
            assert (error["code"], error["param"]) == (400, "url"), url

        assert WebhookEndpoint.objects.count() == before
        assert inside.came == 0


class TestWhereANameLeads:
    @pytest.mark.parametrize("network", INSIDE)
    def test_is_never_inside_by_whichever_address(self, inside: Listener, network: str) -> None:
        block = ipaddress.ip_network(network)
        middle = block[block.num_addresses // 2]
        for address in {str(block[0]), str(block[min(1, block.num_addresses - 1)]), str(middle)} | {
            str(block[-1])
        }:
            for found in ([address], [ELSEWHERE, address], [address, ELSEWHERE]):
                with pytest.raises(egress.NotPublic):
                    send(f"https://{NAME}:{inside.port}/", lambda _host, _port, to=found: to)  # type: ignore[misc]  # bound now

        assert inside.came == 0


@pytest.mark.django_db
class TestAWebhook:
    @pytest.fixture
    def alice(self) -> Tenant:
        """A customer with a webhook."""
        return make_tenant("alice")

    def deliver(self, alice: Tenant, url: str, resolve: egress.Resolve) -> str:
        """Make one, which looks at the address, then attempt a delivery to it; why it failed."""
        endpoint, _ = webhooks.create(
            workspace=alice.workspace, url=url, events=["key.created"], by=alice.owner
        )
        delivery = webhooks.send_test(endpoint=endpoint, by=alice.owner)
        outcome = webhookdeliveries.attempt(delivery_id=delivery.pk, resolve=resolve)
        assert outcome is not None
        assert not outcome.good
        return outcome.error

    def test_whose_name_leads_elsewhere_by_now_reaches_nothing(
        self, alice: Tenant, inside: Listener
    ) -> None:
        asked: list[str] = []

        def rebound(host: str, _port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        why = self.deliver(alice, f"https://{NAME}:{inside.port}/", rebound)

        assert (why, asked) == ("The name leads to an address that is not public.", [NAME])
        assert inside.came == 0

    def test_whose_name_changes_between_the_look_and_the_connection_reaches_nothing(
        self, alice: Tenant, inside: Listener
    ) -> None:
        answers = iter([[ELSEWHERE], ["127.0.0.1"], ["127.0.0.1"]])

        # The guard of these tests sees it go where it was judged to go, and nowhere else.
        with pytest.raises(RuntimeError, match=f"may not .*{ELSEWHERE}"):
            self.deliver(alice, f"https://{NAME}:{inside.port}/", lambda _h, _p: next(answers))

        assert len(list(answers)) == 2, "one look for one connection"
        assert inside.came == 0

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0x7f000001", "localhost"])
    def test_that_is_redirected_inside_stays_where_it_is(
        self, alice: Tenant, inside: Listener, settings: Settings, status: int, host: str
    ) -> None:
        place = f"http://{host}:{inside.port}/".encode()
        outside = Listener(
            b"HTTP/1.1 %d Moved\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % (status, place)
        )
        settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{outside.port}"]

        why = self.deliver(alice, f"http://127.0.0.1:{outside.port}/", egress.look_up)

        assert why == "It answered with a redirect, which is not followed."
        assert (outside.came, inside.came) == (1, 0)
        outside.socket.close()
