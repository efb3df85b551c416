"""Why something cannot be started, in one line for a person."""

from __future__ import annotations


class Refusal(Exception):
    """Its text is all that is printed."""


class Interrupted(Exception):
    """Somebody pressed Ctrl-C, or ended us, before everything was up."""
