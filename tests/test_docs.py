"""The documentation says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common import reasons
from config import reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_errors_is_the_list_of_reasons() -> None:
    written = (ROOT / "docs" / "errors.md").read_text()

    assert written == reasons.page(), "run: python -m common.reasons > docs/errors.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    files = [link for link in links if "://" not in link]

    assert [link for link in files if not (page.parent / link).exists()] == []


def test_every_variable_of_the_settings_is_documented() -> None:
    settings = (ROOT / "platform" / "config" / "settings.py").read_text()
    read = set(re.findall(r"(?:env\.\w+|keyring)\(\s*\"([A-Z_0-9]+)\"", settings))

    assert len(read) > 20
    assert read == set(reference.MEANINGS), "say what each is for in platform/config/reference.py"


def test_the_page_of_the_configuration_is_made_from_the_settings() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()

    assert written == reference.page(), (
        "run: PYTHONPATH=platform .venv/bin/python -m config.reference --write"
    )
