"""How rows of people and workspaces behave in the admin site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from accounts.actors import Staff
from accounts.errors import Refused
from accounts.models import User

# Of the rows that somebody chose, so many are told by name.
MOST_NAMED: Final = 10


class Ruled:
    """Tells a refusal by our own rules to the staff instead of failing."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add or change one row."""
        return _told(request, lambda: super(Ruled, self).changeform_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete one row."""
        return _told(request, lambda: super(Ruled, self).delete_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """List rows, or act on several."""
        return _told(request, lambda: super(Ruled, self).changelist_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin


def _told(request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
    """The view's answer, or the same page with the reason why not."""
    try:
        return view()
    except Refused as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(request.get_full_path())


def staff(request: HttpRequest) -> Staff:
    """Whoever works in this site, as the audit log names them."""
    return Staff(cast("User", request.user))


def say(request: HttpRequest, done: str, rows: Sequence[object]) -> None:
    """Tell what was done to the rows that somebody chose."""
    names = ", ".join(str(row) for row in rows[:MOST_NAMED]) or "none of them"
    more = len(rows) - MOST_NAMED
    messages.success(request, f"{done}: {names}{f' and {more} more' if more > 0 else ''}.")


class Kept:
    """Rows that others point at: they are closed or disabled, never deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


class ReadOnly(Kept):
    """Rows that staff look at and nobody edits by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


class Looked(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """Rows of which there are many, to look at."""

    show_full_result_count = False
