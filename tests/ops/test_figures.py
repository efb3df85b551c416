"""What Prometheus gets: from real processes, over the internal address."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy import neuralbox
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> Figures:
    """Return all samples by name and labels."""
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60)
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(figures: Figures, name: str, **labels: str) -> float:
    """Return one figure, 0 where it is not there yet."""
    return figures.get((f"tollgate_{name}", tuple(sorted(labels.items()))), 0.0)


def made(figures: Figures) -> float:
    """Return how many generations were settled."""
    wanted = {("surface", "generate"), ("state", "settled")}
    return sum(
        count
        for (name, labels), count in figures.items()
        if name == "tollgate_closings_total" and wanted <= set(labels)
    )


def until_given(port: int) -> None:
    """Wait until somebody gives figures."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            scrape(port)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nobody gives figures")


def scraped(port: int, name: str, count: int, **labels: str) -> Figures:
    """Return all samples once so many were counted: a process counts after it has answered."""
    deadline = time.monotonic() + 30
    while value(figures := scrape(port), name, **labels) < count:
        assert time.monotonic() < deadline, (name, labels, count)
        time.sleep(0.02)
    return figures


def chat(gateway: GatewayProcess, secret: str, **fields: object) -> int:
    """Make one call; return its status."""
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {secret}"},
        json={"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}]} | fields,
        trust_env=False,
        timeout=60,
    ).status_code


def test_figures_of_all_processes_are_given_at_one_address_and_survive_each_of_them(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    tmp_path: Path,
) -> None:
    port = free_port()
    environment = {"METRICS_PORT": str(port), "METRICS_DIR": str(tmp_path / "metrics")}
    one, two = GatewayProcess(**environment), GatewayProcess(**environment)
    with two:
        with one:
            until_given(port)
            assert chat(one, shop.secret) == 200
            assert chat(two, shop.secret) == 200
            assert chat(two, "sk-tg-wrong") == 401
            ok = {"surface": "chat/completions", "status": "200"}
            refused = ok | {"status": "401"}
            scraped(port, "requests_total", 1, **refused)
            # What is counted last of an answer.
            figures = scraped(port, "overhead_seconds_count", 2)
            assert value(figures, "requests_total", **ok) == 2
            assert value(figures, "requests_total", **refused) == 1
            charged = sum(row.cost for row in shop.usage)
            assert value(figures, "money_nanos_total", kind="charged") == charged > 0
            assert value(figures, "overhead_seconds_count") == 2
            assert value(figures, "batch_items_count", desk="settlement") == 2
            assert value(figures, "gateways") == 2
            assert value(figures, "database_up") == 1
            assert value(figures, "holds") == 0
            tokens = sum(row.output_tokens for row in shop.usage)
            assert value(figures, "tokens_total", provider="first", kind="output") == tokens > 0
            assert (tmp_path / "metrics").stat().st_mode & 0o077 == 0
        until_given(port)
        figures = scrape(port)
        assert value(figures, "requests_total", **ok) == 2, "sums outlive their process"
        assert value(figures, "gateways") == 1
        # A third process goes on in the files of the first.
        with GatewayProcess(**environment) as three:
            assert chat(three, shop.secret) == 200
            figures = scraped(port, "requests_total", 3, **ok)
            assert value(figures, "requests_total", **ok) == 3
    assert len(list((tmp_path / "metrics").glob("counter_*.db"))) == 2


def test_no_figure_names_a_customer_and_no_port_is_open_unasked(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert settings.METRICS_PORT == 0
    port = free_port()
    folder = tmp_path / "metrics"
    with GatewayProcess(METRICS_PORT=str(port), METRICS_DIR=str(folder)) as gateway:
        until_given(port)
        chat(gateway, shop.secret, user="canary-user", model="canary-model")
        chat(gateway, shop.secret, user="canary-user")
        httpx.get(f"{gateway.url}/v1/canary-path", timeout=60, trust_env=False)
        url = f"http://127.0.0.1:{port}/metrics"
        text = httpx.get(url, timeout=60, trust_env=False).text
    for secret in ("canary", shop.secret, shop.workspace.public_id, shop.key.public_id):
        assert secret not in text


def test_a_worker_without_a_gateway_gives_the_figures_of_its_children(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    tmp_path: Path,
) -> None:
    neuralbox.give(shop.workspace, 300)
    port = free_port()
    environment = {"METRICS_PORT": str(port), "METRICS_DIR": str(tmp_path / "metrics")}
    with GatewayServer() as gateway, WorkerProcess(**environment):
        until_given(port)
        assert made(scrape(port)) == 0
        body = {"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}]}
        with gateway.client(shop.secret) as client:
            # More than one child has something to count.
            asked = [client.post(neuralbox.URL, json=body | {"async": True}) for _ in range(6)]
            for each in asked:
                told = neuralbox.ended(client, each.json()["id"], within_s=60)
                assert told["status"] == "completed", told
        # The ledger tells that they are completed, perhaps before their makers have counted.
        deadline = time.monotonic() + 30
        while (count := made(scrape(port))) < len(asked) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count == len(asked)
        assert value(scrape(port), "database_up") == 1
    with pytest.raises(httpx.TransportError):
        scrape(port)
