"""What is sealed opens with its key, for its purpose."""

from __future__ import annotations

import base64
import os

import pytest
from pytest_django import Settings

from common import crypto, pagination
from common.crypto import UnreadableSecret
from common.errors import ApiError


class TestSeal:
    @pytest.mark.parametrize("purpose", ["", "cursor"])
    def test_it_opens_again_also_under_an_older_key(self, settings: Settings, purpose: str) -> None:
        sealed, key_id = crypto.seal(b"words", purpose=purpose)
        settings.ENCRYPTION_KEYS = {"newer": os.urandom(32), **settings.ENCRYPTION_KEYS}
        assert crypto.unseal(sealed, key_id, purpose=purpose) == b"words"

    @pytest.mark.parametrize(
        ("made", "meant"), [("", "cursor"), ("cursor", ""), ("cursor", "other")]
    )
    def test_what_has_another_purpose_does_not_open(self, made: str, meant: str) -> None:
        sealed, key_id = crypto.seal(b"words", purpose=made)
        with pytest.raises(UnreadableSecret):
            crypto.unseal(sealed, key_id, purpose=meant)


class TestCursor:
    def test_a_secret_at_rest_is_no_cursor(self) -> None:
        # As cursors were sealed before they had a purpose.
        sealed, key_id = crypto.seal(b'["logs", 7]')
        cursor = base64.urlsafe_b64encode(key_id.encode() + b":" + sealed).decode().rstrip("=")
        with pytest.raises(ApiError, match="no cursor of this list"):
            pagination.unseal("logs", cursor)
        assert pagination.unseal("logs", pagination.seal("logs", 7)) == 7
