from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.sandbox import calls
from proxy.sandbox.calls import CallLog


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], CallLog]]:
    """Open the log as a new process would."""
    opened: list[CallLog] = []

    def reopen() -> CallLog:
        opened.append(CallLog(tmp_path / "log"))
        return opened[-1]

    yield reopen
    for log in opened:
        log.close()


class TestCallLog:
    def test_a_retry_under_the_same_id_is_the_one_that_is_found(
        self, reopen: Callable[[], CallLog]
    ) -> None:
        log = reopen()
        first = log.start(request_id="req_a", model="m", prompt_tokens=1)
        log.end(first, finished=False)
        second = log.start(request_id="req_a", model="m", prompt_tokens=2)
        assert log.find("req_a") is second
        again = reopen().find("req_a")
        assert again is not None
        assert again.prompt_tokens == 2

    def test_an_end_is_written_once(self, reopen: Callable[[], CallLog], tmp_path: Path) -> None:
        log = reopen()
        call = log.start(request_id="req_a", model="m", prompt_tokens=1)
        log.end(call, finished=True)
        log.end(call, finished=False)
        assert len((tmp_path / "log").read_text().splitlines()) == 2
        assert call.finished

    def test_half_a_line_and_foreign_lines_do_no_harm(
        self, reopen: Callable[[], CallLog], tmp_path: Path
    ) -> None:
        (tmp_path / "log").write_bytes(b'garbage\n[]\n{"at": "x", "request')
        log = reopen()
        log.end(log.start(request_id="req_a", model="m", prompt_tokens=1), finished=True)
        assert reopen().find("req_a") is not None

    def test_the_oldest_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls, "MOST_REMEMBERED", 2)
        log = CallLog(None)
        for name in ("req_a", "req_b", "req_c"):
            log.start(request_id=name, model="m", prompt_tokens=1)
        assert log.find("req_a") is None
        assert log.find("req_c") is not None
