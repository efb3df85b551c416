"""The Vercel AI SDK with its default provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import packages
from tests.conformance.shapes import CLIENTS
from tests.conformance.stack import Stack
from tests.peers.conformance import clients

CLIENT = "ai-sdk"


@pytest.fixture(scope="module")
def outcomes(node: str, node_folder: Path, stack: Stack) -> clients.Outcomes:
    return clients.outcomes(
        client=CLIENT, command=[node, "vercel.mjs"], folder=node_folder, stack=stack
    )


@pytest.mark.timeout(packages.WITHIN_S + clients.WITHIN_S)
@pytest.mark.parametrize("shape", CLIENTS[CLIENT].shapes)
def test_is_served(outcomes: clients.Outcomes, shape: str) -> None:
    clients.check(outcomes, shape)
