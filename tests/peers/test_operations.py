"""What is written for operators, read by the programs that it is written for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.peers.conftest import require
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IN_TIME_S = 30
CHAT = "/v1/chat/completions"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_promtool_lets_each_alert_fire() -> None:
    promtool = require(program="promtool", packages="prometheus")
    found = run(promtool, "test", "rules", str(DEPLOY / "prometheus" / "tollgate.tests.yaml"))
    assert found.returncode == 0, found.stdout + found.stderr


def test_promtool_finds_nothing_wrong_in_the_scrape() -> None:
    promtool = require(program="promtool", packages="prometheus")
    file = DEPLOY / "prometheus" / "prometheus.yaml"
    found = run(promtool, "check", "config", str(file))
    assert found.returncode == 0, found.stdout + found.stderr


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    verify = require(program="systemd-analyze", packages="systemd")
    units = []
    for path in sorted((DEPLOY / "systemd").iterdir()):
        # Neither the program nor the user need be on this machine.
        text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text())
        text = text.replace("User=tollgate", "User=root").replace("Group=tollgate", "Group=root")
        copied = tmp_path / path.name.replace("@.", "@8000.")
        copied.write_text(text)
        units.append(str(copied))
    found = run(verify, "verify", "--man=no", *units)
    assert [line for line in found.stderr.splitlines() if "tollgate" in line] == []


class Caddy:
    """The proxy with the file that we ship, without TLS, in front of a gateway."""

    def __init__(self, program: str, gateway: str, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        given = {
            "HOST_NAME": self.url,
            "UPSTREAM": gateway.removeprefix("http://"),
            "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
            "HOME": str(folder),
        }
        with (folder / "caddy.log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, "run", "--config", DEPLOY / "Caddyfile", "--adapter", "caddyfile"],
                env={**os.environ, **given},
                stderr=log,
            )

    def answers(self) -> bool:
        """Whether it passes calls on."""
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it; it would wait for what is under way."""
        self.process.kill()
        self.process.wait(IN_TIME_S)


@pytest.fixture
def caddy(shop: Shop, tmp_path: Path) -> Iterator[Caddy]:  # noqa: F811
    program = require(program="caddy", packages="caddy")
    # Before the gateway reads how its providers are.
    shop.provider_cancels()
    with GatewayServer() as gateway:
        started = Caddy(program, gateway.url, tmp_path)
        try:
            deadline = time.monotonic() + IN_TIME_S
            while not started.answers():
                assert started.process.poll() is None, (tmp_path / "caddy.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "caddy.log").read_text()
                time.sleep(0.05)
            yield started
        finally:
            started.stop()


@pytest.mark.django_db(transaction=True)
def test_behind_caddy_streams_come_piece_by_piece_and_end_when_their_caller_hangs_up(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    caddy: Caddy,
) -> None:
    headers = {"authorization": f"Bearer {shop.secret}"}
    body = {"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}]}
    # It says one word and then nothing for ever: what has come has come through.
    words = fake.stream(("one", " two"))
    first = next(n for n, step in enumerate(words) if isinstance(step, bytes) and b"one" in step)
    upstream.script([*words[: first + 1], fake.Stall()])
    with httpx.Client(
        base_url=caddy.url, headers=headers, trust_env=False, timeout=IN_TIME_S
    ) as client:
        with client.stream("POST", CHAT, json=body | {"stream": True}) as answer:
            assert answer.status_code == 200
            assert "content-encoding" not in answer.headers
            assert any("one" in line for line in answer.iter_lines())
            assert shop.holds == 1
        deadline = time.monotonic() + IN_TIME_S
        while shop.holds:
            assert time.monotonic() < deadline, "the gateway did not hear that its caller is gone"
            time.sleep(0.05)
        upstream.reset()
        assert client.post(CHAT, json=body).status_code == 200
        upstream.reset()
        # Caddy 2.6 says 502 of a body that is too large for it, newer ones 413.
        assert client.post(CHAT, content=b" " * 22_000_000).status_code in (413, 502)
        assert upstream.calls == []
