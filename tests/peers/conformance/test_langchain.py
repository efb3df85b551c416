"""LangChain, in an environment of its own."""

from __future__ import annotations

import pytest

from tests import packages
from tests.conformance.shapes import CLIENTS
from tests.conformance.stack import Stack
from tests.peers.conformance import clients

CLIENT = "langchain"


@pytest.fixture(scope="module")
def outcomes(stack: Stack) -> clients.Outcomes:
    program = clients.PEERS / CLIENT / "program.py"
    command = [str(clients.python(name=CLIENT)), str(program)]
    return clients.outcomes(client=CLIENT, command=command, folder=packages.ROOT, stack=stack)


@pytest.mark.timeout(packages.WITHIN_S + clients.WITHIN_S)
@pytest.mark.parametrize("shape", CLIENTS[CLIENT].shapes)
def test_is_served(outcomes: clients.Outcomes, shape: str) -> None:
    clients.check(outcomes, shape)
