"""
Texts of django-allauth that we say in other words in English too, so that one thing has one name:
what it calls a security key is a passkey on all our other pages, nobody is told to contact us
where there is no address to write to, and headings and buttons have one capital letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import allauth
from babel.messages.pofile import read_po

THEIRS: Final = Path(allauth.__file__).parent / "locale" / "de" / "LC_MESSAGES" / "django.po"
# Ours begin with one capital letter.
TITLES: Final = (
    "Remember Me",
    "Current Password",
    "New Password",
    "New Password (again)",
    "Account Inactive",
    "Confirm Access",
    "Sign In",
    "Password Reset",
    "Sign Out",
    "Change Password",
    "Forgot Password?",
    "Reset My Password",
    "Set Password",
    "Sign Up Closed",
    "Verify Your Email Address",
    "Two-Factor Authentication",
    "Authenticator App",
    "Recovery Codes",
    "Activate Authenticator App",
    "Deactivate Authenticator App",
)
RENAMED: Final = re.compile(
    r"[Ss]ecurity [Kk]ey|(Master|Backup) key|Key nr\.|Passwordless|Enabling passwordless"
    r"|Bad Token|Authenticator secret|contact us"
)


def texts(root: Path) -> Iterator[str | tuple[str, ...]]:
    """Those that reach readers: not from a template that we have replaced."""
    with THEIRS.open("rb") as file:
        found = read_po(file, locale="de")
    for message in found:
        source = message.id if isinstance(message.id, str) else message.id[0]
        shown = any(not (root / place).exists() for place, _ in message.locations)
        if shown and (source in TITLES or RENAMED.search(source)):
            yield message.id if isinstance(message.id, str) else tuple(message.id)
