"""
Texts of Django, django-allauth and Django REST framework that our pages and mails show.

Catalogues of a project come before those of its libraries, so what stands in ours replaces theirs:
where a library says nothing in a language, calls readers by their first name or has another word
than we for the same thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import allauth
import django
import rest_framework
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from tests.i18n import glossary

ALLAUTH: Final = Path(allauth.__file__).parent / "locale"
DJANGO: Final = Path(django.__file__).parent
# Its pages are in English; but what it says in other words than Django comes before Django's.
REST: Final = Path(rest_framework.__file__).parent / "locale"
# Where each library keeps its texts, and the language of the file that says where they are used.
LIBRARIES: Final = (
    (ALLAUTH, "de"),
    (DJANGO / "contrib" / "auth" / "locale", "en"),
    (DJANGO / "conf" / "locale", "en"),
)
# Parts of the libraries that are switched off here, that only staff sees, or nobody.
OFF: Final = re.compile(
    r"idp/|socialaccount/|headless/|phone|username|login_code|login_by_code|reset_code|"
    r"confirm_code|verification_code|by_passkey|trust|webauthn/signup|email_change\.html|"
    r"account/models|mfa/models|usersessions/models|apps\.py|admin\.py|"
    # These mails are for sites that ask for them.
    r"already_exists|base_notification|email_(changed|confirm|deleted)_|password_(changed|reset|set)_(m|s)|mfa/email"
)
USED: Final = re.compile(r"core/validators|forms/(fields|forms|utils)\.py|auth/password_validation")
UNSAID: Final = re.compile(r"phone|[Uu]sername|\bfile\b|\(optional\)")
# What is neither untranslated nor another word, but wrong: mistyped, ambiguous, or of one text two.
WRONG: Final = frozenset(
    {
        "The new value must be different from the current one.",
        "The password reset token was invalid.",
        "Invalid or expired key.",
        "Key nr. {number}",
        "Authenticator secret",
        "You can store this secret and use it to reinstall your authenticator app at a later time.",
        (
            "There is %(unused_count)s out of %(total_count)s recovery codes available.",
            "There are %(unused_count)s out of %(total_count)s recovery codes available.",
        ),
        (
            "You have added %(count)s security key.",
            "You have added %(count)s security keys.",
        ),
        "Signed out of all other sessions.",
        "Use your password",
        "Sign In",
        "Alternative options",
        "Unknown Account",
        "Removed email address %(email)s.",
        "Forgot your password?",
        "Recovery Codes",
        "Two-Factor Authentication",
    }
)


@cache
def reachable(root: Path) -> tuple[str | tuple[str, ...], ...]:
    """The texts of libraries that readers see: not from a template that we have replaced."""
    return tuple(
        message.id if isinstance(message.id, str) else tuple(message.id)
        for folder, language in LIBRARIES
        for message in _read(folder, language)
        if message.id
        and not UNSAID.search(str(message.id))
        and any(_is_live(place, root) for place, _ in message.locations)
    )


def _is_live(place: str, root: Path) -> bool:
    if OFF.search(place) or (root / place).exists():
        return False
    return place.startswith(("account/", "mfa/", "usersessions/", "templates/")) or bool(
        USED.search(place)
    )


def texts(root: Path) -> Iterator[Message]:
    """Those of them that we say ourselves in other languages."""
    for id_ in reachable(root):
        if id_ in WRONG or any(not is_good(id_, language) for language in glossary.WORDS):
            yield Message(id_)


def is_good(id_: str | tuple[str, ...], language: str) -> bool:
    """Whether the library says it in a language as we would."""
    for folder in (REST, *(folder for folder, _ in LIBRARIES)):
        found = _read(folder, language).get(id_)
        if found is not None and found.string and not found.fuzzy:
            forms = (found.string,) if isinstance(found.string, str) else tuple(found.string)
            return all(form and not glossary.flaw(form, language=language) for form in forms)
    return False


@cache
def _read(folder: Path, language: str) -> Catalog:
    path = folder / language / "LC_MESSAGES" / "django.po"
    if not path.exists():
        with path.with_suffix(".mo").open("rb") as file:
            return read_mo(file)
    with path.open("rb") as file:
        return read_po(file, locale=language)
