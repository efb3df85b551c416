"""Markdown (CommonMark and tables) as HTML: our texts and the operator's, no customer's."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

Place = Callable[[str], str | None]
# Where a long name may go on in the next line.
JOINT: Final = re.compile(r"(?<=[\w}][/,._])(?=\S)")


def html(text: str, *, place: Place = lambda link: link) -> str:
    """
    Write a text as HTML. Tags in it are shown, not obeyed.

    ``place`` says where a link leads; None takes the link away and keeps its words.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # A wide table scrolls by itself, also with the keyboard.
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("code_inline", _code_inline)
    tokens = parser.parse(text)
    for token in tokens:
        if token.children:
            token.children = _relinked(token.children, place)
        if token.type in ("fence", "code_block"):
            token.attrSet("tabindex", "0")
    return str(parser.renderer.render(tokens, parser.options, {}))


def breakable(text: str) -> str:
    """A name as HTML that breaks between its parts rather than within one: `sandbox/<wbr>echo`."""
    return JOINT.sub("<wbr>", escape(text))


def _relinked(tokens: Sequence[Token], place: Place) -> list[Token]:
    kept: list[Token] = []
    open_links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = place(str(token.attrGet("href") or ""))
            open_links.append(target is not None)
            if target is not None:
                token.attrSet("href", target)
        wanted = open_links[-1] if token.type in ("link_open", "link_close") else True
        if token.type == "link_close":
            open_links.pop()
        if wanted:
            kept.append(token)
    return kept


def _table_open(
    self: Any, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    return '<div class="scroll-x" tabindex="0"><table class="table table-sm">\n'


def _code_inline(
    self: Any, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    return f"<code>{breakable(tokens[idx].content)}</code>"


def _table_close(
    self: Any, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    return "</table></div>\n"
