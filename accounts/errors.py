"""
Refusals of this app, each an ApiError that pages can show as a sentence: their words go through
gettext where they are raised. The management API and the gateway speak English.

    ApiError
    └── Refused
        ├── Invalid             a value that no one may set                  invalid_parameter
        ├── Forbidden           a right that the person does not have        scope_missing
        │   └── NotVerified     the person's email address is not proved
        ├── ForeignWorkspace    a workspace the person is no member of       workspace_forbidden
        ├── Missing             nothing of that id can be seen from here     not_found
        ├── Conflict            a change to something that changed meanwhile version_conflict
        └── Hasty               an address that tries too often              rate_limited
"""

from __future__ import annotations

from django.utils.translation import gettext as _

from common.errors import ApiError


class Refused(ApiError):
    """A change that this app does not make."""


class Invalid(Refused):
    """A value that no one may set."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__("invalid_parameter", message, param=param)


class Forbidden(Refused):
    """A right that the person does not have."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__("scope_missing", message, param=param)


class NotVerified(Forbidden):
    """Something that costs money, asked by someone whose address is not proved."""

    def __init__(self) -> None:
        super().__init__(_("Confirm your email address first; the link is in your mailbox."))


class ForeignWorkspace(Refused):
    """A workspace the person is no member of; whether it exists is not told."""

    def __init__(self, message: str = "") -> None:
        words = message or _("You are not a member of this workspace.")
        super().__init__("workspace_forbidden", words, param="workspace")


class Missing(Refused):
    """Nothing of that id can be seen from here."""

    def __init__(self, message: str) -> None:
        super().__init__("not_found", message)


class Conflict(Refused):
    """A change to something that somebody else has changed since it was read."""

    def __init__(self) -> None:
        super().__init__(
            "version_conflict",
            _("It was changed since you read it. Read it again and repeat your change."),
            param="version",
        )


class Hasty(Refused):
    """An address that tries something too often."""

    def __init__(self) -> None:
        super().__init__("rate_limited", _("That was too often. Try again in an hour."))
