from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.billing.chains import counter
from tests.billing.chains.counter import USDC, USDT, Counter
from tests.fakes.evm import FakeChain


@pytest.fixture
def chain() -> Iterator[FakeChain]:
    with FakeChain(decimals={USDC: 6, USDT: 6}) as made:
        made.endpoint()
        made.endpoint()
        yield made


@pytest.fixture
def shop(db: None, chain: FakeChain, settings: Settings, tmp_path: Path) -> Counter:
    counter.configure(settings, tmp_path, counter.plan([each.url for each in chain.endpoints]))
    counter.set_wallet()
    made = Counter(chain)
    assert made.look().trouble == ""
    return made
