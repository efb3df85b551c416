"""
Texts of django-allauth that we say in our own way: its German calls readers by their first name.

Catalogues of a project come before those of its libraries, so what stands here replaces theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import allauth
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

THEIRS: Final = Path(allauth.__file__).parent / "locale"
FAMILIAR: Final = re.compile(r"\b([Dd]u|[Dd]ich|[Dd]ir|[Dd]ein\w*)\b")
# Parts of the library that are switched off here.
OFF: Final = re.compile(r"idp/|socialaccount/|phone|username|login_by_code")


def texts(root: Path) -> Iterator[Message]:
    """What of theirs is familiar and reaches readers: not from a template that we have replaced."""
    with (THEIRS / "de" / "LC_MESSAGES" / "django.po").open("rb") as file:
        found = read_po(file, locale="de")
    for message in found:
        places = [place for place, _ in message.locations if not OFF.search(place)]
        if message.id and any(not (root / place).exists() for place in places):
            forms = message.string if isinstance(message.string, tuple) else (message.string,)
            if any(FAMILIAR.search(str(form)) for form in forms):
                yield message
