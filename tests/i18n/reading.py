"""What a reader of a page sees: texts and labels, without code and without what is in English."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

VOID: Final = frozenset(
    "area base br col embed hr img input link meta source track wbr path rect line".split()
)
# Not prose: code, drawings, data; the zones and languages to choose from have one name each.
SKIPPED: Final = frozenset("script style code pre svg textarea time".split())
SPOKEN: Final = ("aria-label", "title", "placeholder", "alt", "data-copied")
BUTTONS: Final = ("submit", "button")


class Reader(HTMLParser):
    """Collects the words of a page in the order of the page."""

    def __init__(self, html: str) -> None:
        # Names may break between their parts, and are one word all the same.
        html = html.replace("<wbr>", "")
        super().__init__()
        self.words: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element; its labels are read unless it is skipped."""
        named = dict(attrs)
        skipped = (
            (bool(self._open) and self._open[-1][1])
            or tag in SKIPPED
            or named.get("translate") == "no"
            or (tag != "html" and named.get("lang") is not None)
        )
        if not skipped:
            self.words += [text for name in SPOKEN if (text := (named.get(name) or "").strip())]
        if tag not in VOID:
            self._open.append((tag, skipped))

    def handle_endtag(self, tag: str) -> None:
        """End an element and what was left open in it."""
        while any(tag == name for name, _ in self._open):
            if self._open.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        """Read a text."""
        text = " ".join(data.split())
        if text and self._open and not self._open[-1][1]:
            self.words.append(text)


def words(html: str) -> list[str]:
    """Every text and label of a page."""
    return Reader(html).words
