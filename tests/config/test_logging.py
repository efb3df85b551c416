from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from accounts import keytext
from config import logging as ours

KEPT = "e3b0c44298fc1c149afbf4c8996fb924"


@pytest.fixture(params=[False, True], ids=["json", "plain"])
def plain(request: pytest.FixtureRequest) -> Iterator[bool]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield bool(request.param)
    root.handlers = handlers
    root.setLevel(level)


class TestRedact:
    @pytest.mark.parametrize("prefix", ["sk-tg-", "nb_", "", "tg-live-"])
    def test_a_key_is_cut_out_with_whatever_prefix_it_was_made(self, prefix: str) -> None:
        key = keytext.mint(prefix=prefix)
        assert key[-32:] not in ours.redact(f"no such key: {key!r} at all")

    @pytest.mark.parametrize("text", ["Bearer abcdef", "bearer: Bearer abcdef", "sk-proj-abcdef"])
    def test_keys_of_others_are_cut_out(self, text: str) -> None:
        assert "abcdef" not in ours.redact(f"it said {text}, twice")

    def test_what_is_no_key_stays(self) -> None:
        text = f"req_{KEPT} took 3 ms; a bearer of news"
        assert ours.redact(text) == text


class TestConfigure:
    def test_no_line_has_a_key_however_deep_it_stands(
        self, plain: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key = keytext.mint(prefix="nb_")
        ours.configure(level="INFO", plain=plain)
        log = structlog.stdlib.get_logger("tests")
        log.warning("Refused", headers={"Authorization": [f"Bearer {key}"]}, kept=KEPT)
        try:
            raise ValueError(key)
        except ValueError:
            logging.getLogger("library").exception("It broke for %s", key)
        said = capsys.readouterr().err
        assert key[-32:] not in said
        assert said.count(ours.REDACTED) >= 3
        assert KEPT in said
        if not plain:
            assert {json.loads(line)["level"] for line in said.splitlines()} == {"warning", "error"}
