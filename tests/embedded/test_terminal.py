from __future__ import annotations

from pathlib import Path

import pytest

from embedded.terminal import LINES_AT_ONCE, Tail, importance


class TestImportance:
    @pytest.mark.parametrize(
        ("line", "shown"),
        [
            ('{"level": "error", "event": "Cannot settle"}', "Cannot settle"),
            ('{"level": "error", "event": "First\\nsecond"}', "First"),
            ('{"level": "info", "event": "ready"}', ""),
            ("{ not json", ""),
            ("ERROR:    [Errno 98] address in use", "ERROR:    [Errno 98] address in use"),
            ("2026-11-21 [7] FATAL:  terminating", "2026-11-21 [7] FATAL:  terminating"),
            ("INFO:     Application startup complete.", ""),
        ],
    )
    def test_only_what_a_person_must_see(self, line: str, shown: str) -> None:
        assert importance(line=line) == shown


class TestTail:
    def test_half_a_line_waits_for_its_end(self, tmp_path: Path) -> None:
        path = tmp_path / "web.log"
        tail = Tail(path=path)
        with path.open("a") as log:
            print("ERROR: fi", end="", file=log, flush=True)
            before = tail.important()
            print("rst", file=log, flush=True)

        assert (before, tail.important()) == ([], ["ERROR: first"])

    def test_a_flood_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "web.log"
        tail = Tail(path=path)
        path.write_text("ERROR: again\n" * 100)

        lines = tail.important()

        assert len(lines) == LINES_AT_ONCE + 1
        assert "95 more lines" in lines[-1]
