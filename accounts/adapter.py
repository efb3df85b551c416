"""How django-allauth signs people up here."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):
    """E-mail as the only login, a personal workspace from the first minute."""
