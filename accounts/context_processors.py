"""What pages of every kind show: workspaces to switch to, legal texts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import legal, seats


def workspaces(request: HttpRequest) -> dict[str, Any]:
    """The current seat and all seats, read only by templates that use them."""
    return {
        "seat": SimpleLazyObject(lambda: seats.current(request)),
        "seats": SimpleLazyObject(lambda: seats.seats(request)),
    }


def legal_texts(request: HttpRequest) -> dict[str, Any]:
    """The legal texts that there are, for the foot of public pages."""
    return {
        "legal_texts": SimpleLazyObject(
            lambda: [(name, legal.TITLES[name]) for name in legal.names()]
        )
    }
