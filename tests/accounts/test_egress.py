"""Customers name addresses; nothing of ours is reached by them."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django import Settings

from accounts import egress
from accounts.egress import BadUrl, EgressError, NotPublic

NAME = "hooks.example.com"
PUBLIC = "93.184.215.14"

# Every spelling of something private that some parser or resolver understands.
NEVER = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0x0.0x0.0x1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254./",
    "https://172.31.255.255/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://256.1.1.1/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2001::1]/",
    "https://[2001:20::1]/",
    "https://[2001:db8::1]/",
    "https://[2002:7f00:1::]/",
    "https://[3fff::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[2606:4700::1%25lo]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[::1/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "https://127。0。0。1/",
    "https://user@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com:443@127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://example.com#fragment",
    "https://127.0.0.1\\@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://exa mple.com/",
    "https://example.com/\r\nHost: 127.0.0.1",
    "https://example.com\t.evil.com/",
    "https://\x00example.com/",
    "https://example.com:22/",
    "https://example.com:80/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:https/",
    "http://example.com/",
    "gopher://example.com/",
    "file:///etc/passwd",
    "//example.com/",
    "example.com",
    "https:///path",
    "https://",
    "https://.example.com/",
    "https://exa..mple.com/",
    "https://-a.example.com/",
    "https://example.com/ü",
    "https://example.com/" + "a" * 2000,
    "",
]


class TestParse:
    @pytest.mark.parametrize("url", NEVER)
    def test_what_is_not_public_or_not_plain_is_refused_with_a_sentence(self, url: str) -> None:
        with pytest.raises(BadUrl, match=r"^[A-Z].*\.$"):
            egress.parse(url)

    @pytest.mark.parametrize(
        ("url", "kept"),
        [
            ("https://Example.COM", "https://example.com/"),
            ("https://example.com.:443/a?b=c", "https://example.com/a?b=c"),
            ("https://example.com:8443/", "https://example.com:8443/"),
            ("https://bücher.example.com/x", "https://xn--bcher-kva.example.com/x"),
            ("https://a_b.example.com/", "https://a_b.example.com/"),
            ("https://93.184.215.14/", "https://93.184.215.14/"),
            ("https://[2606:4700:0::1111]/", "https://[2606:4700::1111]/"),
        ],
    )
    def test_what_is_public_is_kept_in_one_spelling(self, url: str, kept: str) -> None:
        assert egress.parse(url).url == kept
        assert egress.parse(kept).url == kept

    def test_what_the_operator_names_may_be_plain_and_private(self, settings: Settings) -> None:
        settings.WEBHOOK_ALLOWED_TARGETS = ["127.0.0.1:9000"]

        assert egress.parse("http://127.0.0.1:9000/x").url == "http://127.0.0.1:9000/x"
        with pytest.raises(BadUrl):
            egress.parse("http://127.0.0.1:9001/x")


class TestIsPublic:
    @pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "2a00:1450::1"])
    def test_what_everybody_reaches_is_public(self, text: str) -> None:
        assert egress.is_public(ipaddress.ip_address(text))

    @pytest.mark.parametrize(
        "text",
        ["2606:4700::1111%2", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::", "2001:0:1::"],
    )
    def test_what_carries_a_zone_or_another_address_is_not(self, text: str) -> None:
        assert not egress.is_public(ipaddress.ip_address(text))

    def test_nothing_is_public_that_python_calls_private(self) -> None:
        networks = [
            *ipaddress.IPv4Address(0)._constants._private_networks,  # type: ignore[attr-defined]  # its list of the registry
            *ipaddress.IPv6Address(0)._constants._private_networks,  # type: ignore[attr-defined]  # its list of the registry
        ]
        assert len(networks) > 20
        for network in networks:
            assert not egress.is_public(network[0]), network
            assert not egress.is_public(network[-1]), network


class Listener:
    """A server on loopback that says the same to everybody, and counts who came."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") -> None:
        self.answer, self.pace_s = answer, 0.0
        self.received: list[bytes] = []
        self.came = 0
        self.names: list[str | None] = []
        self.tls: ssl.SSLContext | None = None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.came += 1
            try:
                self._answer(client)
            except OSError:
                client.close()

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(30)
        if self.tls is not None:
            client = self.tls.wrap_socket(client, server_side=True)
        text = b""
        while b"\r\n\r\n" not in text or not text.endswith(b"}"):
            text += client.recv(65536) or b"}"
        self.received.append(text)
        for number in range(0, len(self.answer), 65536):
            client.sendall(self.answer[number : number + 65536])
            time.sleep(self.pace_s)
        client.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that would see a connection to something private."""
    made = Listener()
    yield made
    made.socket.close()


def post(url: str, **terms: object) -> egress.Reply:
    """Send a small body."""
    return egress.post(url=url, headers={"webhook-id": "evt_1"}, body=b"{}", **terms)  # type: ignore[arg-type]  # named by the tests


class TestJudged:
    def test_the_system_reads_odd_spellings_and_they_are_refused_at_the_connection(
        self, listener: Listener
    ) -> None:
        # Were such a name ever stored, what it leads to is judged once more.
        target = egress.Target("https", NAME, 443, "/")
        for found in (["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["fe80::1%1"], ["10.0.0.1"]):
            with pytest.raises(NotPublic):
                egress.judged(target, found)


class TestPrivateAddresses:
    @pytest.mark.parametrize(
        "found",
        [
            ["127.0.0.1"],
            ["::1"],
            ["::ffff:127.0.0.1"],
            [PUBLIC, "127.0.0.1"],
            ["127.0.0.1", PUBLIC],
            ["64:ff9b::7f00:1"],
            ["2002:7f00:1::"],
            [],
        ],
    )
    def test_a_name_that_leads_to_one_is_not_connected_to(
        self, listener: Listener, found: list[str]
    ) -> None:
        with pytest.raises(NotPublic) as refusal:
            post(f"https://{NAME}/", resolve=lambda _host, _port: found)

        assert listener.came == 0
        assert "127" not in str(refusal.value)

    def test_a_name_that_changes_its_mind_is_looked_up_once_per_connection(
        self, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(egress, "PORTS", (443, listener.port))
        answers = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
        asked: list[str] = []

        def rebinding(host: str, _port: int) -> list[str]:
            asked.append(host)
            return answers[len(asked) - 1]

        # The guard of these tests sees the attempt at the address that was judged.
        with pytest.raises(RuntimeError, match=f"tests may not .*{PUBLIC}"):
            post(f"https://{NAME}:{listener.port}/", resolve=rebinding)
        with pytest.raises(NotPublic):
            post(f"https://{NAME}:{listener.port}/", resolve=rebinding)

        assert asked == [NAME, NAME]
        assert listener.came == 0

    def test_a_name_without_an_address_is_told_as_such(self) -> None:
        def unknown(_host: str, _port: int) -> list[str]:
            raise socket.gaierror

        with pytest.raises(EgressError, match="no address"):
            post(f"https://{NAME}/", resolve=unknown)


@pytest.fixture
def allowed(listener: Listener, settings: Settings) -> str:
    """The listener's address, which the operator has named."""
    settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{listener.port}"]
    return f"http://127.0.0.1:{listener.port}/in?x=1"


class TestPost:
    def test_it_sends_what_it_is_given_and_nothing_else(
        self, listener: Listener, allowed: str
    ) -> None:
        assert post(allowed).status == 200

        head, _, body = listener.received[0].partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /in?x=1 http/1.1"
        assert sorted(line.partition(":")[0] for line in lines[1:]) == [
            "content-length",
            "host",
            "webhook-id",
        ]
        assert body == b"{}"

    def test_a_redirect_is_an_answer_and_is_not_followed(
        self, listener: Listener, allowed: str
    ) -> None:
        inner = Listener()
        listener.answer = (
            b"HTTP/1.1 307 Temporary Redirect\r\n"
            b"location: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % inner.port
        )

        assert post(allowed).status == 307
        assert (listener.came, inner.came) == (1, 0)
        inner.socket.close()

    def test_no_proxy_of_the_environment_is_used(
        self, listener: Listener, allowed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy = Listener()
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        assert post(allowed).status == 200
        assert (listener.came, proxy.came) == (1, 0)
        proxy.socket.close()

    def test_an_endless_answer_is_not_read_to_its_end(
        self, listener: Listener, allowed: str
    ) -> None:
        whole = 64 * 1024 * 1024
        listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % whole + b"x" * whole

        assert post(allowed).status == 200

    def test_a_dripping_answer_ends_at_the_deadline(
        self, listener: Listener, allowed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(egress, "DEADLINE_S", 0.5)
        listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 9999999
        listener.pace_s = 0.2
        monkeypatch.setattr(egress, "MOST_BYTES", 10**8)

        with pytest.raises(EgressError, match="No answer within"):
            post(allowed)

    def test_an_answer_that_is_not_http_is_told_as_such(
        self, listener: Listener, allowed: str
    ) -> None:
        listener.answer = b"SSH-2.0-OpenSSH_9.2\r\n"

        with pytest.raises(EgressError, match="not HTTP"):
            post(allowed)

    def test_a_closed_port_is_told_as_such(self, settings: Settings) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{port}"]

        with pytest.raises(EgressError, match="refused"):
            post(f"http://127.0.0.1:{port}/")


def certificate(folder: Path, *, name: str) -> Path:
    """A key and a certificate for a name that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class TestTls:
    @pytest.fixture
    def url(self, listener: Listener, settings: Settings) -> str:
        settings.WEBHOOK_ALLOWED_TARGETS = [f"{NAME}:{listener.port}"]
        return f"https://{NAME}:{listener.port}/"

    def serve(self, listener: Listener, path: Path) -> ssl.SSLContext:
        """Speak TLS with a certificate; return what trusts it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.sni_callback = lambda _socket, name, _context: listener.names.append(name)
        listener.tls = context
        return ssl.create_default_context(cafile=str(path))

    def test_the_connection_goes_to_the_address_and_has_the_name(
        self, listener: Listener, url: str, tmp_path: Path
    ) -> None:
        trust = self.serve(listener, certificate(tmp_path, name=NAME))

        reply = post(url, resolve=lambda _host, _port: ["127.0.0.1"], trust=trust)

        assert reply.status == 200
        assert listener.names == [NAME]
        assert f"host: {NAME}:{listener.port}" in listener.received[0].decode().lower()

    def test_a_certificate_for_another_name_is_refused(
        self, listener: Listener, url: str, tmp_path: Path
    ) -> None:
        trust = self.serve(listener, certificate(tmp_path, name="other.example.com"))

        with pytest.raises(EgressError, match="certificate"):
            post(url, resolve=lambda _host, _port: ["127.0.0.1"], trust=trust)
        assert listener.received == []

    def test_a_certificate_that_nobody_vouches_for_is_refused(
        self, listener: Listener, url: str, tmp_path: Path
    ) -> None:
        self.serve(listener, certificate(tmp_path, name=NAME))

        with pytest.raises(EgressError, match="certificate"):
            post(url, resolve=lambda _host, _port: ["127.0.0.1"])
        assert listener.received == []
