"""The real server by raw sockets: framing, sizes, slowness, hostile JSON, many connections."""

from __future__ import annotations

import gzip
import json
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import ApiKey
from common import metrics
from common.errors import REASONS, TYPES
from config.protocol import ANSWERED_MORE, most_connections
from proxy.meters import meters
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)

WAIT_S = 30.0
# How long the server waits for a request: as long as a whole one takes on a slow machine.
PATIENCE_S = 10.0
CHAT = "/v1/chat/completions"
BODY = b'{"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}]}'
MEGABYTE = 1024 * 1024


class Wire:
    """The server, and a key that may call it."""

    def __init__(self, url: str, secret: str) -> None:
        self.port = int(url.rpartition(":")[2])
        self.secret = secret

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def head(self, *lines: str, method: str = "POST", path: str = CHAT, key: str = "") -> bytes:
        fields = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        fields.append(f"authorization: Bearer {key or self.secret}")
        return "\r\n".join([*fields, *lines, "", ""]).encode("latin-1")

    def get(self, path: str) -> bytes:
        """A request that leaves the connection open."""
        return self.head(method="GET", path=path)

    def post(self, body: bytes, *lines: str, path: str = CHAT) -> bytes:
        """A whole request that asks for the connection's end."""
        length = f"content-length: {len(body)}"
        return self.head(length, "connection: close", *lines, path=path) + body

    def send(self, request: bytes) -> bytes:
        """Send bytes as they are; return all that comes until the server closes."""
        with self.connect() as connection:
            try:
                connection.sendall(request)
            except OSError:
                pass  # It was refused while it was on its way; the answer is there.
            return everything(connection)

    def is_well(self) -> bool:
        """Whether an ordinary call is answered as ever."""
        return statuses(self.send(self.post(BODY))) == [200]


def everything(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def statuses(answer: bytes) -> list[int]:
    """The status of each answer on one connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


def error_of(answer: bytes) -> dict[str, object]:
    """The error of an answer in our shape."""
    found: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return found


def is_told(answer: bytes) -> bool:
    """Whether a refusal is one of ours: the documented body, and an id to ask support about."""
    [status] = statuses(answer)
    error = error_of(answer)
    same_as_documented = (error["type"], error["code"]) == (TYPES[status], status)
    named = re.search(rb"\r\nx-request-id: (req_\w{26})\r\n", answer)
    return same_as_documented and error["reason"] in REASONS and named is not None


@pytest.fixture
def wire(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    settings: Settings,
) -> Iterator[Wire]:
    ApiKey.objects.update(rpm=10_000)
    settings.HEAD_TIMEOUT_S = settings.BODY_TIMEOUT_S = PATIENCE_S
    with GatewayServer() as server:
        yield Wire(server.url, shop.secret)


@pytest.fixture
def hasty(wire: Wire, settings: Settings) -> Wire:
    """The server when it soon gives up."""
    settings.HEAD_TIMEOUT_S = settings.BODY_TIMEOUT_S = 0.5
    return wire


class TestFraming:
    """RFC 9112, sections 6 and 7: what two readers could understand in two ways is refused."""

    def test_nothing_is_understood_in_two_ways(
        self,
        wire: Wire,
        shop: Shop,  # noqa: F811
        upstream: FakeUpstream,  # noqa: F811
    ) -> None:
        hidden = wire.post(BODY)
        length = f"content-length: {len(BODY)}"
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        ambiguous = {
            "length and chunks": wire.head("content-length: 5", "transfer-encoding: chunked")
            + b"0\r\n\r\n"
            + hidden,
            "chunks and length": wire.head("transfer-encoding: chunked", "content-length: 5")
            + b"0\r\n\r\n"
            + hidden,
            "two lengths": wire.head("content-length: 5", length) + BODY + hidden,
            "two equal lengths": wire.head(length, length) + BODY + hidden,
            "a list of lengths": wire.head(f"{length}, {len(BODY)}") + BODY + hidden,
            "a signed length": wire.head(f"content-length: +{len(BODY)}") + BODY + hidden,
            "a length in hex": wire.head("content-length: 0x5") + BODY + hidden,
            "a negative length": wire.head("content-length: -1") + BODY + hidden,
            "a huge length": wire.head("content-length: 99999999999999999999") + hidden,
            "chunked twice": wire.head("transfer-encoding: chunked, chunked") + chunked + hidden,
            "an unknown coding": wire.head("transfer-encoding: xchunked") + chunked + hidden,
            "chunked not last": wire.head("transfer-encoding: chunked, gzip") + chunked + hidden,
            "a space before the colon": wire.head("content-length : 5") + BODY + hidden,
            "a folded header": wire.head("x-a: b", " content-length: 5") + BODY + hidden,
            "a bare line feed": wire.head("x-a: b\ncontent-length: 5") + BODY + hidden,
            "a bare return": wire.head("x-a: b\rcontent-length: 5") + BODY + hidden,
            "a NUL in a header": wire.head("x-a: b\x00c", length) + BODY + hidden,
            "a chunk's size in words": wire.head("transfer-encoding: chunked")
            + b"zz\r\nab\r\n0\r\n\r\n"
            + hidden,
            "a chunk's size with a sign": wire.head("transfer-encoding: chunked")
            + b"+5\r\nabcde\r\n0\r\n\r\n"
            + hidden,
            "a chunk longer than it says": wire.head("transfer-encoding: chunked")
            + b"2\r\nabcd\r\n0\r\n\r\n"
            + hidden,
            "an endless chunk": wire.head("transfer-encoding: chunked")
            + b"fffffffffffffffff\r\nab\r\n0\r\n\r\n"
            + hidden,
        }
        for way, request in ambiguous.items():
            answer = wire.send(request)
            assert len(statuses(answer)) <= 1, (way, answer)
            assert all(400 <= status < 500 for status in statuses(answer)), (way, answer)
            assert answer == b"" or is_told(answer), (way, answer)
        assert upstream.calls == [], "nothing that was hidden behind them was run"
        assert shop.usage == []
        assert wire.is_well()

    def test_chunks_are_read_with_their_extensions_and_trailers(self, wire: Wire) -> None:
        half = len(BODY) // 2
        chunks = b"%x;name=value\r\n%s\r\n" % (half, BODY[:half])
        chunks += b'%x;a="b"\r\n%s\r\n' % (len(BODY) - half, BODY[half:])
        head = wire.head("transfer-encoding: chunked", "connection: close")
        for end in (b"0\r\n\r\n", b"0\r\nx-after: all\r\n\r\n"):
            assert statuses(wire.send(head + chunks + end)) == [200]

    def test_a_trailer_gives_no_right(self, wire: Wire) -> None:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        trailer = f"authorization: Bearer {wire.secret}\r\n".encode()
        chunk = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
        answer = wire.send(head + b"connection: close\r\n\r\n" + chunk + trailer + b"\r\n")
        assert statuses(answer) == [401]

    def test_what_is_no_request_is_none(self, wire: Wire) -> None:
        for junk in (
            *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\x00" * 100),
            *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000),
        ):
            with wire.connect() as connection:
                try:
                    connection.sendall(junk)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                answer = everything(connection)
                assert statuses(answer) in ([], [400]), answer
                assert answer == b"" or is_told(answer), answer
        assert wire.is_well()

    def test_pipelined_requests_are_answered_in_their_order(self, wire: Wire) -> None:
        first = wire.head(method="GET", path="/livez", key="x")
        second = wire.head("connection: close", method="GET", path="/v1/none")
        assert statuses(wire.send(first + second)) == [200, 404]


class TestSizes:
    def test_60_megabytes_are_refused_and_leave_nothing(
        self,
        shop: Shop,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with GatewayProcess(TMPDIR=str(tmp_path)) as server:
            wire = Wire(server.url, shop.secret)
            for path in (CHAT, "/login", "/api/v1/keys", "/nothing-here"):
                told = wire.head("content-length: 60000000", path=path)
                assert statuses(wire.send(told)) == [413], path
                counted = wire.head("transfer-encoding: chunked", path=path) + chunk * 960
                # The answer may be lost with the rest of what it refuses.
                assert statuses(wire.send(counted)) in ([413], []), path
            assert wire.is_well()
            assert [each for each in tmp_path.rglob("*") if each.is_file()] == []

    def test_a_stranger_sends_nothing_of_a_large_body(self, wire: Wire) -> None:
        request = wire.head("content-length: 20000000", key="sk-tg-junk")
        answer = wire.send(request)
        assert statuses(answer) == [401]
        assert b"connection: close" in answer.lower()

    def test_headers_have_a_bound(self, wire: Wire) -> None:
        large = wire.head("content-length: 0", "x-large: " + "a" * 300_000)
        many = wire.head("content-length: 0", *(f"x-{n}: {'a' * 50}" for n in range(6000)))
        path = wire.head(path="/v1/" + "a" * 300_000, method="GET")
        for request in (large, many, path):
            answer = wire.send(request)
            assert statuses(answer) == [400], answer[:200]
            assert is_told(answer)
            assert b"32 KB" in answer
        assert wire.is_well()

    def test_compressed_bodies_are_refused_unread(self, wire: Wire) -> None:
        bomb = gzip.compress(b"[" * 20 * MEGABYTE, compresslevel=9)
        assert len(bomb) < 100_000
        for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x"):
            for path in (CHAT, "/api/v1/keys"):
                request = wire.post(bomb, f"content-encoding: {coding}", path=path)
                assert statuses(wire.send(request)) == [415], (coding, path)
        transfer = wire.head("transfer-encoding: gzip, chunked", "connection: close")
        answer = wire.send(transfer + b"%x\r\n%s\r\n0\r\n\r\n" % (len(bomb), bomb))
        assert all(status >= 400 for status in statuses(answer))


class TestSlowness:
    def test_a_slow_body_is_408(self, hasty: Wire) -> None:
        for path in (CHAT, "/login"):
            with hasty.connect() as connection:
                connection.sendall(hasty.head("content-length: 100", path=path) + b"{")
                assert statuses(everything(connection)) == [408], path

    def test_a_body_that_drips_is_408_all_the_same(self, hasty: Wire) -> None:
        with hasty.connect() as connection:
            connection.sendall(hasty.head("content-length: 1000000"))
            answer = b""
            connection.settimeout(0.05)
            began = time.monotonic()
            while not answer and time.monotonic() - began < WAIT_S:
                try:
                    connection.sendall(b" ")
                    answer = connection.recv(65536)
                except TimeoutError:
                    continue
                except OSError:
                    break
        assert statuses(answer) == [408]

    def test_headers_that_never_end_are_given_up(self, hasty: Wire) -> None:
        for begun in (b"", b"GET / HTTP/1.1\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x"):
            with hasty.connect() as connection:
                connection.sendall(begun)
                answer = everything(connection)
                assert statuses(answer) == ([408] if begun else []), begun
                assert not begun or is_told(answer), answer

    def test_headers_that_drip_are_given_up(self, hasty: Wire) -> None:
        with hasty.connect() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
            connection.settimeout(0.05)
            began, closed = time.monotonic(), False
            while not closed and time.monotonic() - began < WAIT_S:
                try:
                    connection.sendall(b"x-a: b\r\n")
                    closed = connection.recv(65536) == b""
                except TimeoutError:
                    continue
                except OSError:
                    closed = True
        assert closed

    def test_many_connections_that_say_nothing_keep_nobody_out(
        self, wire: Wire, settings: Settings
    ) -> None:
        settings.HEAD_TIMEOUT_S = 3.0
        idle = [wire.connect() for _ in range(300)]
        try:
            for each in idle[::2]:
                each.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
            assert wire.is_well()
            # Those who say nothing are sent away, and the room is free again.
            assert all(everything(each)[:12] in (b"", b"HTTP/1.1 408") for each in idle)
        finally:
            for each in idle:
                each.close()
        assert wire.is_well()

    def test_many_who_send_at_once_are_all_answered(self, wire: Wire) -> None:
        answers: list[list[int]] = []

        def shout() -> None:
            answers.append(statuses(wire.send(wire.post(b" " * MEGABYTE + BODY))))

        threads = [threading.Thread(target=shout) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(answers) == len(threads)
        assert {status for each in answers for status in each} <= {200, 429, 503}
        assert wire.is_well()


class TestCrowd:
    """No more connections than there may be; whoever is in stays in."""

    def test_those_above_the_bound_are_told_and_sent_away(
        self, wire: Wire, settings: Settings
    ) -> None:
        kept = wire.connect()
        assert asked(kept, wire.get("/livez")) == 200
        settings.CLIENT_CONNECTIONS, refused = 1, counted("connections_refused_total")
        answer = wire.send(wire.post(BODY))
        assert statuses(answer) == [503]
        assert is_told(answer)
        assert error_of(answer)["reason"] == "too_many_connections"
        assert b"retry-after: 1\r\n" in answer
        assert counted("connections_refused_total") == refused + 1
        assert asked(kept, wire.get("/livez")) == 200
        kept.close()
        until(wire.is_well)

    def test_whether_the_process_lives_is_always_answered_and_once(
        self, wire: Wire, settings: Settings
    ) -> None:
        settings.CLIENT_CONNECTIONS = 0
        assert statuses(wire.send(wire.get("/livez") * 2)) == [200]
        assert statuses(wire.send(wire.get("/livez/../v1/models"))) == [503]

    def test_far_above_it_they_are_closed_without_a_word(
        self, wire: Wire, settings: Settings
    ) -> None:
        settings.CLIENT_CONNECTIONS, settings.HEAD_TIMEOUT_S = 0, 3.0
        extra = [wire.connect() for _ in range(ANSWERED_MORE)]
        until(lambda: counted("connections") >= ANSWERED_MORE)
        assert wire.send(wire.get("/livez")) == b""
        # They may stay no longer than others who say nothing.
        for each in extra:
            assert everything(each) == b""
            each.close()
        until(lambda: statuses(wire.send(wire.get("/livez"))) == [200])

    def test_streams_have_descriptors_for_both_their_ends(self, settings: Settings) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        settings.CLIENT_CONNECTIONS = 10**9
        assert most_connections() == soft // 2
        settings.CLIENT_CONNECTIONS = 7
        assert most_connections() == 7


def asked(connection: socket.socket, request: bytes) -> int:
    """The status of an answer on a connection that stays open."""
    connection.sendall(request)
    return statuses(connection.recv(65536))[0]


def counted(name: str) -> float:
    """What this process has counted of one figure."""
    meters()
    return metrics._unread().get_sample_value(f"tollgate_{name}") or 0.0


def until(true: Callable[[], bool]) -> None:
    """Wait for what becomes true."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestJson:
    """RFC 8259, section 9: a parser may set limits; ours answers, with 400, to all of these."""

    @pytest.mark.parametrize(
        "path", [CHAT, "/v1/embeddings", "/v1/responses", "/api/v2/generate", "/api/v1/keys"]
    )
    def test_what_is_hostile_is_a_400_and_costs_nothing(
        self,
        wire: Wire,
        shop: Shop,  # noqa: F811
        upstream: FakeUpstream,  # noqa: F811
        path: str,
    ) -> None:
        deep = 200_000
        hostile = {
            "lists in lists": b"[" * deep + b"]" * deep,
            "objects in objects": b'{"a":' * deep + b"1" + b"}" * deep,
            "a deep field": b'{"model": "test/tokens", "metadata": ' + b"[" * deep + b"]" * deep,
            "an unfinished deep field": BODY[:-1] + b', "x": ' + b'[{"a":' * deep,
            "a long integer": BODY[:-1] + b', "max_tokens": ' + b"9" * 100_000 + b"}",
            "a long fraction": BODY[:-1] + b', "temperature": 1e' + b"9" * 10_000 + b"}",
            "not a number": BODY[:-1] + b', "temperature": NaN}',
            "infinity": BODY[:-1] + b', "temperature": Infinity}',
            "half of a pair": BODY.replace(b"Hi", b"\\ud800"),
            "a NUL in a name": BODY.replace(b"test/tokens", b"test\\u0000tokens"),
            "bytes that are no text": BODY.replace(b"Hi", b"\xff\xfe"),
            "another encoding": BODY.decode().encode("utf-16"),
            "a mark of order": b"\xef\xbb\xbf" + BODY,
            "two documents": BODY + BODY,
            "a comment": b"/* */" + BODY,
            "nothing": b"",
            "a list": b"[]",
            "a word": b"null",
            "a text": b'"' + b"a" * 100_000 + b'"',
        }
        for way, body in hostile.items():
            answer = wire.send(wire.post(body, path=path))
            [status] = statuses(answer)
            assert 400 <= status < 500, (way, answer[:300])
            assert error_of(answer)["message"], way
        assert upstream.calls == []
        assert shop.usage == []
        assert shop.holds == 0
        assert wire.is_well()

    def test_a_name_that_is_given_twice_means_one_thing(
        self,
        wire: Wire,
        upstream: FakeUpstream,  # noqa: F811
    ) -> None:
        # What is held for, sent and charged is one reading: the last, as in most parsers.
        body = b'{"max_tokens": 1, "max_tokens": 7, ' + BODY[1:]
        assert statuses(wire.send(wire.post(body))) == [200]
        [call] = upstream.calls
        assert call.raw.count(b"max_tokens") + call.raw.count(b"max_completion_tokens") == 1
        assert b":7" in call.raw.replace(b" ", b"")

    def test_a_NUL_in_a_prompt_is_text(self, wire: Wire) -> None:
        assert statuses(wire.send(wire.post(BODY.replace(b"Hi", b"a\\u0000b")))) == [200]
