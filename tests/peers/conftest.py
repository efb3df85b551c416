"""What these tests need beyond Python; what is missing is an error that says what to install."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests import packages
from tests.peers.browsing import FLAGS

AXE = packages.ROOT / "node_modules/axe-core/axe.min.js"


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


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for a module; each page has a context of its own."""
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe(npm: str) -> str:
    """axe-core as one script."""
    packages.node(source=packages.ROOT, folder=packages.ROOT)
    return AXE.read_text()
