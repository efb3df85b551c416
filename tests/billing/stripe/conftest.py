from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer
from tests.fakes.stripe.process import FakeStripe


@pytest.fixture(scope="session")
def fake_process() -> Iterator[FakeStripe]:
    """One fake for all tests of a worker."""
    with FakeStripe() as fake:
        yield fake


@pytest.fixture
def fake(fake_process: FakeStripe, settings: Settings) -> Iterator[FakeStripe]:
    """The fake, empty, with the product pointed at it; what Stripe would not do fails."""
    # Through the fixture: it puts back what was there.
    settings.STRIPE_SECRET_KEY = settings.STRIPE_API_BASE = ""
    settings.STRIPE_WEBHOOK_SECRETS = []
    payer.configure(fake_process)
    yield fake_process
    assert fake_process.do("state")["wrong"] == []


@pytest.fixture
def ada(fake: FakeStripe, db: None) -> Payer:
    """A customer."""
    return payer.payer(fake)
