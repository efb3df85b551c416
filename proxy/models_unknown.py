"""Calls without evidence, which staff resolve."""

from __future__ import annotations

from typing import ClassVar

from billing.models import Usage


class UnknownCall(Usage):
    """A closed call of which nobody knows what it used; the same row as its usage record."""

    class Meta:
        proxy = True
        ordering: ClassVar = ["-id"]
        default_permissions: ClassVar = ["view"]

    def __str__(self) -> str:
        return str(self.id)
