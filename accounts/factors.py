"""
Second factors: the secrets of authenticator apps and recovery codes, sealed where they are kept.

A sealed text is the key's id, a colon and base64, which no secret of allauth's own is: what was
stored before there was sealing is read as it is, and sealed by ``rotate_secrets``.
"""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter

from common import crypto


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Keeps no secret of a second factor in clear."""

    def encrypt(self, text: str) -> str:
        """Seal a secret."""
        return crypto.seal_text(text)

    def decrypt(self, encrypted_text: str) -> str:
        """
        Open what ``encrypt`` made.

        :raises common.crypto.UnreadableSecret: the key that sealed it is not configured
        """
        return crypto.unseal_text(encrypted_text)
