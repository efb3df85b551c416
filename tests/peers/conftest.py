"""What these tests need beyond Python; what is missing is an error that says what to install."""

from __future__ import annotations

import shutil

import pytest


def require(*, program: str, packages: str) -> str:
    """Return where a program is, or fail with the command that installs it."""
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is missing: apt-get install {packages}", pytrace=False)
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's program."""
    return require(program="chromium", packages="chromium")


@pytest.fixture(scope="session")
def npm() -> str:
    """Return node's package manager."""
    return require(program="npm", packages="nodejs npm")
