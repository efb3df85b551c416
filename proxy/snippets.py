"""The first call in the languages people use, as templates to fill in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Snippet:
    """One language: its name, its template and the id of its element on the page."""

    title: str
    template: str
    element: str


SNIPPETS: Final = tuple(
    Snippet(title, f"dashboard/snippets/{name}.txt", f"snippet-{name}")
    for title, name in (
        ("curl", "curl"),
        ("Python", "python"),
        ("Node", "node"),
        ("LangChain", "langchain"),
    )
)


def base_url() -> str:
    """What an OpenAI client takes as its base URL here."""
    return f"{settings.BASE_URL}/v1"


def placeholder() -> str:
    """What stands in the snippets where nobody's key is known."""
    return f"{settings.API_KEY_PREFIX}YOUR-KEY"
