from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.peers.chains.harbour import Port, open_port


@pytest.fixture
def port(db: None, npm: str, settings: Settings, tmp_path: Path) -> Iterator[Port]:
    assert npm
    with open_port(settings, tmp_path) as opened:
        yield opened
