"""What became of something that a page asked for: told to its reader, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.errors import Forbidden
from common.errors import ApiError

P = ParamSpec("P")


def attempt(
    request: HttpRequest, done: str, act: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> bool:
    """
    Do it and say so, or say why not; return whether it was done.

    :raises PermissionDenied: it is not this person's to do
    """
    try:
        act(*args, **kwargs)
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    except ApiError as refusal:
        messages.error(request, refusal.message)
        return False
    messages.success(request, done)
    return True
