"""
Legal texts, which the operator supplies, and who agreed to which version of them.

``LEGAL_DIR`` holds ``terms.md``, ``privacy.md``, ``refunds.md`` and ``imprint.md``, each also as
``terms.de.md`` and so on. What is not there is not shown, and nobody is asked to agree to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils.translation import get_language, gettext_lazy

from accounts.models import Consent, User
from common import origin

TITLES: Final = {
    "terms": gettext_lazy("Terms"),
    "privacy": gettext_lazy("Privacy"),
    "refunds": gettext_lazy("Refunds"),
    "imprint": gettext_lazy("Imprint"),
}
AGREED_TO: Final = ("terms", "privacy")


@dataclass(frozen=True, slots=True)
class Text:
    """One text as it reads now; ``digest`` tells its version."""

    name: str
    title: str
    markdown: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the text."""
        return hashlib.sha256(self.markdown.encode()).hexdigest()


def names() -> list[str]:
    """The texts that there are."""
    return [name for name in TITLES if (_folder() / f"{name}.md").is_file()]


def read(*, name: str) -> Text | None:
    """A text in the reader's language, else in the operator's own; None where there is none."""
    if name not in TITLES:
        return None
    language = (get_language() or "en").partition("-")[0]
    for path in (_folder() / f"{name}.{language}.md", _folder() / f"{name}.md"):
        if path.is_file():
            return Text(name, str(TITLES[name]), path.read_text())
    return None


def asked() -> list[str]:
    """What people agree to when they sign up."""
    there = names()
    return [name for name in AGREED_TO if name in there]


def agree(*, user: User) -> None:
    """Keep which versions a person has agreed to, when, and from where."""
    texts = [text for name in asked() if (text := read(name=name))]
    address = origin.current().address
    Consent.objects.bulk_create(
        [
            Consent(user=user, document=text.name, digest=text.digest, address=address)
            for text in texts
        ]
    )


def _folder() -> Path:
    return Path(settings.LEGAL_DIR)
