"""The documentation for customers: the files of docs/ that are for them, as pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from common import markdown

# In the order of the menu. The texts are English only, like the API's errors.
CHAPTERS: Final = {
    "quickstart": _("Quickstart"),
    "surfaces": _("Endpoints"),
    "sdks": _("SDKs and retries"),
    "errors": _("Errors"),
    "limits": _("Limits and receipts"),
    "disconnects": _("Stopping a request"),
    "management": _("Management API"),
    "webhooks": _("Webhooks"),
    "compatibility": _("Compatibility"),
}
# /docs/api is the reference of all endpoints.
FILES: Final = {"management": "api"}
NAMES: Final = {file: slug for slug, file in FILES.items()}
WRITTEN_FOR: Final = "http://127.0.0.1:8000"
OURS: Final = re.compile(r"([a-z]+)\.md(#.*)?")
# A link whose words are the name of its file: a reader is told the title instead.
BARE: Final = re.compile(r"\[([a-z]+)(?:\.md)?\](\(\1\.md(?:#[^)]*)?\))")
# What only operators need, in a file that is for customers too.
INTERNAL: Final = re.compile(r"<!-- for operators -->.*?<!-- for all -->\n*", re.DOTALL)
# Remarks for whoever edits a file.
REMARK: Final = re.compile(r"<!--.*?-->\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One page of the documentation."""

    slug: str
    title: str
    html: str


def chapter(slug: str) -> Chapter | None:
    """The page of that name; None where there is none."""
    if slug not in CHAPTERS:
        return None
    return Chapter(slug, str(CHAPTERS[slug]), written(slug))


@cache
def written(slug: str) -> str:
    """The text of a page, the same in every language."""
    text = _source(FILES.get(slug, slug)).replace(WRITTEN_FOR, settings.BASE_URL)
    text = REMARK.sub("", INTERNAL.sub("", text))
    text = BARE.sub(lambda link: f"[{_title(link[1])}]{link[2]}", text)
    return markdown.html(text, place=place)


def _source(file: str) -> str:
    path: Path = settings.BASE_DIR / "docs" / f"{file}.md"
    return path.read_text()


def _title(file: str) -> str:
    return _source(file).partition("\n")[0].removeprefix("# ")


def place(link: str) -> str | None:
    """Where a link of a file leads on the site; to a file that is no page it leads nowhere."""
    if "://" in link or link.startswith(("#", "/")):
        return link
    found = OURS.fullmatch(link)
    slug = NAMES.get(found[1], found[1]) if found else ""
    if found is None or slug not in CHAPTERS:
        return None
    return f"/docs/{slug}{found[2] or ''}"
