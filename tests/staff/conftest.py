"""Customers, for the tests of what staff do with them."""

from __future__ import annotations

import pytest

from accounts.models import User
from tests import pages


@pytest.fixture
def alice(db: None) -> User:
    """A customer with a personal workspace."""
    return pages.person("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Another one."""
    return pages.person("bob")
