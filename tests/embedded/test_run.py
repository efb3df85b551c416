"""`make run` with real processes: from nothing, through crashes, to nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import environment, ports
from tests.product import UP_WITHIN_S, Product, is_running, launch, spawn, until

PROCESSES = {"supervisor", "postgres", "redis", "sandbox", "web", "worker", "beat"}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One product for all tests that leave it running."""
    running = launch(folder=tmp_path_factory.mktemp("run") / "var")
    yield running
    running.interrupt()


def curl_line(said: str) -> list[str]:
    """Return the printed command line, split as a shell would."""
    (line,) = (line for line in said.splitlines() if line.strip().startswith("curl "))
    return shlex.split(line)


class TestWhatItPrintsAndWrites:
    def test_the_printed_curl_line_is_complete(self, product: Product) -> None:
        words = curl_line(product.said())

        assert f"Authorization: Bearer {product.demo['api_key']}" in words
        assert words[1] == f"http://127.0.0.1:{product.port}/v1/chat/completions"

    def test_the_demo_key_gets_an_answer(self, product: Product) -> None:
        status, answer = product.post(
            "/v1/chat/completions",
            body={"model": "sandbox/echo", "messages": [{"role": "user", "content": "hello"}]},
        )

        assert status == 200, answer
        assert answer["choices"][0]["message"]["content"] == "hello"

    def test_the_front_page_has_its_styles_and_scripts(self, product: Product) -> None:
        files = set(re.findall(r"/static/[^\"\s]+", product.page("/")))

        assert any(name.endswith(".css") for name in files)
        assert {name: product.get(name) for name in files} == dict.fromkeys(files, 200)

    def test_demo_json_has_the_documented_fields_and_is_private(self, product: Product) -> None:
        assert {
            "base_url",
            "openai_base_url",
            "workspace_id",
            "api_key",
            "email",
            "password",
            "staff_email",
            "staff_password",
            "staff_totp_secret",
        } <= set(product.demo)
        for name in ("demo.json", ".env"):
            assert stat.S_IMODE((product.folder / name).stat().st_mode) == 0o600

    def test_run_json_names_running_processes(self, product: Product) -> None:
        assert set(product.pids) == PROCESSES
        assert all(is_running(pid=pid) for pid in product.pids.values())

    def test_a_second_terminal_finds_the_servers(self, product: Product) -> None:
        assert "[ ]" not in product.manage("showmigrations", "--plan")


class TestRefusals:
    def test_the_same_folder_twice(self, product: Product) -> None:
        second = spawn(folder=product.folder)

        assert second.process.wait(timeout=60) == 1
        assert "is in use by process" in second.said()
        assert len(second.said().splitlines()) == 1
        assert product.get("/livez") == 200

    def test_a_taken_port(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            second = spawn(folder=tmp_path / "var", port=port)
            code = second.process.wait(timeout=60)

        assert code == 1
        assert second.said().startswith(f"make run: port {port} on 127.0.0.1 is taken")
        assert len(second.said().splitlines()) == 1

    def test_a_given_redis_that_is_not_there(self, tmp_path: Path) -> None:
        port = ports.choose()
        second = spawn(folder=tmp_path / "var", REDIS_URL=f"redis://127.0.0.1:{port}/0")

        assert second.process.wait(timeout=60) == 1
        assert second.said().startswith(f"make run: nobody answers at REDIS_URL (127.0.0.1:{port})")
        assert len(second.said().splitlines()) == 1


class TestCrashes:
    @pytest.mark.parametrize("name", ["web", "worker", "redis", "postgres"])
    def test_a_killed_process_comes_back(self, product: Product, name: str) -> None:
        before = product.pids[name]

        os.kill(before, signal.SIGKILL)

        until(lambda: product.pids.get(name, before) != before, within_s=UP_WITHIN_S)
        until(lambda: product.get("/readyz") == 200, within_s=UP_WITHIN_S)
        assert f"{name} | killed by signal 9" in product.said()


class TestTwoSideBySide:
    def test_one_life_beside_another(self, product: Product, tmp_path: Path) -> None:
        first = launch(folder=tmp_path / "var")
        leftovers = [pid for name, pid in first.pids.items() if name != "supervisor"]
        key = first.demo["api_key"]

        # Its supervisor is killed: the next start clears up and keeps the data.
        first.process.kill()
        first.process.wait()
        assert all(is_running(pid=pid) for pid in leftovers)
        second = launch(folder=first.folder, port=first.port)
        assert not [pid for pid in leftovers if is_running(pid=pid)]
        assert second.demo["api_key"] == key
        assert second.get("/readyz") == 200

        # Ctrl-C stops everything it started, and nothing else.
        theirs = second.pids.values()
        assert second.interrupt() == 0
        assert not [pid for pid in theirs if is_running(pid=pid)]
        assert not (second.folder / "run.json").exists()
        assert product.get("/readyz") == 200

        # With another pepper every key in that database would be dead.
        third = spawn(folder=first.folder, KEY_PEPPER=environment.keyring())
        assert third.process.wait(timeout=60) == 1
        assert third.said().startswith("make run: manage.py check_pepper: ")
        assert len(third.said().splitlines()) == 1
