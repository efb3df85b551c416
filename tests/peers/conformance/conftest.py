"""The stack that all clients talk to, and what runs their programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import running
from tests.conformance.stack import Stack
from tests.fakes.upstream import FakeUpstream
from tests.peers.conformance import clients
from tests.peers.conftest import require

__all__ = ["running"]


@pytest.fixture(scope="session")
def stack(running: tuple[Stack, FakeUpstream]) -> Stack:
    """What clients are told."""
    return running[0]


@pytest.fixture(scope="session")
def node() -> str:
    """Return node."""
    return require(program="node", packages="nodejs npm")


@pytest.fixture(scope="session")
def node_folder(npm: str) -> Path:
    """Return the folder with the programs for node and their packages."""
    return clients.modules()
