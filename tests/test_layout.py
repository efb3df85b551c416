"""The folder called `platform` must never hide Python's own module of that name."""

from __future__ import annotations

import platform
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class TestPlatformFolder:
    def test_it_is_not_a_package(self) -> None:
        assert not (ROOT / "platform" / "__init__.py").exists()

    def test_the_standard_library_is_still_found(self) -> None:
        assert Path(platform.__file__).parent == Path(sysconfig.get_path("stdlib"))


class TestTestsFolder:
    def test_it_has_no_packages_that_would_hide_the_apps(self) -> None:
        assert not list((ROOT / "tests").rglob("__init__.py"))
