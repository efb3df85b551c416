"""
Catalogues of translations: what there is to translate, and the files that translate it.

``make messages`` reads every template and module, brings ``locale/*/LC_MESSAGES/django.po`` up to
date and compiles it. Entries are in the order of their text and name no file and no line, so a
catalogue changes only where words change.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract, extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from tests.i18n import borrowed, english

ROOT: Final = Path(__file__).resolve().parents[2]
LANGUAGES: Final = ("de", "ru")
# The source is English; its catalogue has only what we say in other words than a library.
ENGLISH: Final = "en"
TEMPLATES: Final = "templates"
# The admin site is for staff and in English; so is what runs in a terminal.
MODULES: Final = ("accounts", "billing", "proxy", "platform/common", "platform/config")
UNTRANSLATED: Final = ("migrations", "management", "admin")
KEYWORDS: Final[dict[str, Any]] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
HEAD: Final = ("Language", "Plural-Forms", "MIME-Version", "Content-Type")
HEADER: Final = (
    "# Translations of Tollgate; `make messages` keeps this file in step with the source."
)


def sources() -> Iterator[Path]:
    """Every file that has words for readers."""
    folder = ROOT / TEMPLATES
    yield from (path for path in sorted(folder.rglob("*")) if _is_page(path))
    for name in MODULES:
        for path in sorted((ROOT / name).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            if not any(part.startswith(UNTRANSLATED) for part in parts):
                yield path


def _is_page(path: Path) -> bool:
    staff = path.relative_to(ROOT / TEMPLATES).parts[0] == "admin"
    return path.suffix in (".html", ".txt") and not staff


def django_template(
    fileobj: Any, keywords: Any, comment_tags: Any, options: Any
) -> Iterator[tuple[int, str | tuple[str, ...], list[str], str | None]]:
    """Extract from a template, by way of the Python that Django makes of it."""
    python = templatize(fileobj.read().decode())
    # What was text is now words of X; without their indentation they are Python's names.
    lines = "\n".join(line.lstrip() for line in python.splitlines())
    yield from extract_python(io.BytesIO(lines.encode()), keywords, comment_tags, options)


def template() -> Catalog:
    """What there is to translate."""
    catalogue = _catalogue(None)
    for path in sources():
        method = "python" if path.suffix == ".py" else django_template
        with path.open("rb") as file:
            for _, words, comments, context in extract(method, file, KEYWORDS, ("Translators:",)):
                catalogue.add(words, context=context, auto_comments=comments)
    for message in borrowed.texts(ROOT):
        catalogue.add(message.id)
    for text in english.texts(ROOT):
        catalogue.add(text)
    return catalogue


def renamed() -> Catalog:
    """What a library says in English and we say otherwise."""
    catalogue = _catalogue(None)
    for words in english.texts(ROOT):
        catalogue.add(words)
    return catalogue


def read(language: str) -> Catalog:
    """A catalogue as it is on disk."""
    path = po_path(language)
    if not path.exists():
        return _catalogue(language)
    with path.open("rb") as file:
        found = read_po(file, locale=language, domain="django", charset="utf-8")
    return found


def updated(language: str, words: Catalog) -> Catalog:
    """A catalogue with what there is to translate now, and nothing else; nothing is guessed."""
    old, new = read(language), _catalogue(language)
    for message in words:
        if message.id:
            known = old.get(message.id, message.context)
            new.add(
                message.id,
                known.string if known else None,
                context=message.context,
                flags=message.flags,
                auto_comments=message.auto_comments,
                user_comments=known.user_comments if known else (),
            )
    return new


def is_whole(message: Message) -> bool:
    """Whether a text is translated, in all its plural forms."""
    forms = message.string if isinstance(message.string, tuple) else (message.string,)
    return all(forms) and not message.fuzzy


def po(catalogue: Catalog) -> bytes:
    """A catalogue as text."""
    out = io.BytesIO()
    write_po(out, catalogue, width=100, no_location=True, sort_output=True, ignore_obsolete=True)
    return out.getvalue()


def mo(catalogue: Catalog) -> bytes:
    """A catalogue as Django reads it."""
    out = io.BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def po_path(language: str) -> Path:
    """Where the text of a catalogue is."""
    return ROOT / "locale" / language / "LC_MESSAGES" / "django.po"


def mo_path(language: str) -> Path:
    """Where a compiled catalogue is."""
    return po_path(language).with_suffix(".mo")


class Calm(Catalog):
    """A catalogue whose head says only what a reader needs: nothing that changes by itself."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The head, line by line."""
        return [(name, told) for name, told in super().mime_headers if name in HEAD]


def _catalogue(language: str | None) -> Catalog:
    return Calm(locale=language, domain="django", header_comment=HEADER, fuzzy=False)
