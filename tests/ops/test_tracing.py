"""Traces by OpenTelemetry: what a collector is told, and that nothing is spent without one."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.test import override_settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from config import startup, traced
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    hello,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "canary-of-a-caller"
CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
PAGE = "GET api/v1/workspaces/<str:workspace_id>"
TRACEPARENT = f"00-{CALLERS_TRACE}-b7ad6b7169203331-01"


class Collector:
    """A collector of OpenTelemetry's, by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        self.bodies.append(body)
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def told(span: Span) -> dict[str, object]:
    """A span's attributes."""
    found = {each.key: each.value for each in span.attributes}
    return {name: getattr(value, str(value.WhichOneof("value"))) for name, value in found.items()}


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def call(url: str, shop: Shop, upstream: FakeUpstream) -> list[httpx.Response]:  # noqa: F811
    headers = {
        "authorization": f"Bearer {shop.secret}",
        "traceparent": TRACEPARENT,
        "tracestate": CANARY,
        "baggage": f"a={CANARY}",
        "user-agent": CANARY,
    }
    body = hello() | {"user": CANARY, "messages": [{"role": "user", "content": CANARY}]}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        upstream.script(fake.answer({"error": {"message": CANARY}}, status=503))
        broken = client.post("/v1/chat/completions", json=body)
        upstream.reset()
        answered = [
            client.post("/v1/chat/completions", json=body),
            client.post("/v1/chat/completions", json=body | {"stream": True}),
            client.get(f"/v1/models/{CANARY}"),
            client.get(f"/api/v1/workspaces/{CANARY}", params={"q": CANARY}),
        ]
    return [broken, *answered]


def test_a_collector_is_told_of_calls_and_pages_and_of_nobody(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    collector: Collector,
) -> None:
    terms = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with GatewayProcess(**terms) as gateway:
        answers = call(gateway.url, shop, upstream)
        assert [each.status_code for each in answers] == [502, 200, 200, 404, 403]
        until(lambda: len(collector.named("settlement")) >= 3)
        until(lambda: collector.named(PAGE))
        until(lambda: len(collector.named("POST chat/completions")) == 3)
    for said in collector.bodies:
        for secret in (CANARY, shop.secret, "127.0.0.1", shop.user.email, "upstream-key"):
            assert secret.encode() not in said, secret
    assert not any("traceparent" in dict(each.headers) for each in upstream.calls)

    roots = {
        str(told(span)["tollgate.request_id"]): span
        for span in collector.named("POST chat/completions")
    }
    [failed, whole, stream] = [roots[each.headers["x-request-id"]] for each in answers[:3]]
    assert told(failed)["http.response.status_code"] == 502
    assert told(failed)["tollgate.reason"] == "upstream_failed"
    for root in (whole, stream):
        assert told(root)["http.response.status_code"] == 200
        # The caller's own trace is a link, never a parent.
        assert root.parent_span_id == b""
        assert root.trace_id.hex() != CALLERS_TRACE
        assert [link.trace_id.hex() for link in root.links] == [CALLERS_TRACE]
        parts = {
            span.name: span
            for span in collector.spans
            if span.trace_id == root.trace_id and span is not root
        }
        assert {"admission", "upstream", "settlement"} <= set(parts)
        assert all(part.parent_span_id == root.span_id for part in parts.values())
        assert told(parts["admission"])["tollgate.verdict"] == "ok"
        attempt = told(parts["upstream"])
        assert (attempt["tollgate.provider"], attempt["tollgate.outcome"]) == ("first", "answered")
        assert told(parts["settlement"])["tollgate.source"] == "provider"
        assert parts["upstream"].end_time_unix_nano > parts["upstream"].start_time_unix_nano
    [unknown] = collector.named("GET models/{model}")
    assert told(unknown)["http.response.status_code"] == 404
    [page] = collector.named(PAGE)
    assert set(told(page)) <= {"http.method", "http.route", "http.status_code"}


TASK = """
import config
from celery.signals import worker_process_init, worker_process_shutdown

@config.celery.app.task(name="tests.greet")
def greet(name):
    raise RuntimeError(name)

worker_process_init.send(sender=None)
greet.apply(args=["canary-of-a-caller"])
worker_process_shutdown.send(sender=None)
"""


def run(program: str, **terms: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python with the product's settings."""
    rooms = {"PYTHONPATH": f"{settings.BASE_DIR / 'platform'}:{settings.BASE_DIR}"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=settings.BASE_DIR,
        env={"DJANGO_SETTINGS_MODULE": "config.settings", **rooms, **terms},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_collector_is_told_of_tasks_and_not_of_their_arguments(collector: Collector) -> None:
    ran = run(TASK, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert ran.returncode == 0, ran.stderr
    [task] = collector.named("run/tests.greet")
    assert told(task)["celery.state"] == "FAILURE"
    assert not any(CANARY.encode() in said for said in collector.bodies)


# As where requirements-otel.txt is not installed: redis-py would import it for itself.
OFF = """
import sys
sys.modules["opentelemetry"] = None
import config.asgi, config.celery
print(type(config.asgi.application.gateway).__name__)
print([name for name in sys.modules if name in ("config.tracing", "proxy.tracing")])
"""


def test_without_a_collector_nothing_of_it_is_imported() -> None:
    ran = run(OFF)
    assert ran.stdout.split("\n")[:2] == ["Gateway", "[]"], ran.stderr


def test_a_collector_without_the_packages_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with override_settings(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318"):
        assert not any("OTEL" in problem for problem in startup.problems())
        assert traced.is_traced()
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
        assert not traced.is_traced()
        [problem] = [each for each in startup.problems() if "OTEL" in each]
    assert "pip install --require-hashes -r requirements-otel.txt" in problem
