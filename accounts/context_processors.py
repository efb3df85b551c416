"""What every dashboard page shows: the current workspace and the others to switch to."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import seats


def workspaces(request: HttpRequest) -> dict[str, Any]:
    """The current seat and all seats, read only by templates that use them."""
    return {
        "seat": SimpleLazyObject(lambda: seats.current(request)),
        "seats": SimpleLazyObject(lambda: seats.seats(request)),
    }
