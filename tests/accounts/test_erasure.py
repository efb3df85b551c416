"""The end of an account, without a page around it."""

from __future__ import annotations

import pytest

from accounts import erasure
from accounts.errors import Forbidden
from accounts.models import User


class TestErase:
    def test_staff_is_not_erased_by_itself(self, alice: User) -> None:
        User.objects.filter(pk=alice.pk).update(is_staff=True)

        with pytest.raises(Forbidden):
            erasure.erase(user=alice)

    def test_twice_is_once(self, alice: User) -> None:
        erasure.erase(user=alice)
        erasure.erase(user=alice)

        alice.refresh_from_db()
        assert alice.email == f"deleted-{alice.pk}@invalid"
