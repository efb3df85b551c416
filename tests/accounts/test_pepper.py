from __future__ import annotations

import pytest

from accounts import keys, pepper
from accounts.models import ApiKey, SecretFingerprint, User
from accounts.pepper import PepperError

OLD, NEW = b"o" * 32, b"n" * 32


@pytest.mark.django_db
class TestCheck:
    def test_the_first_call_records_a_fingerprint_and_not_the_pepper(self) -> None:
        pepper.check(peppers={"old": OLD})
        recorded = SecretFingerprint.objects.get()
        assert recorded.pepper_id == "old"
        assert OLD not in bytes(recorded.fingerprint)

    def test_the_same_pepper_is_fine_under_any_id(self) -> None:
        pepper.check(peppers={"old": OLD})
        pepper.check(peppers={"old": OLD})
        pepper.check(peppers={"renamed": OLD})

    def test_another_pepper_is_refused_with_what_to_do(self) -> None:
        pepper.check(peppers={"old": OLD})
        with pytest.raises(PepperError, match=r"another KEY_PEPPER \(id 'old'\).*behind the new"):
            pepper.check(peppers={"old": NEW})

    def test_no_pepper_is_refused(self) -> None:
        with pytest.raises(PepperError, match="not set"):
            pepper.check(peppers={})

    def test_the_old_one_behind_a_new_one_is_fine(self, key: ApiKey) -> None:
        pepper.check(peppers={"old": OLD})
        pepper.check(peppers={"new": NEW, "old": OLD})
        assert SecretFingerprint.objects.get().pepper_id == "old"

    def test_the_record_moves_on_when_no_living_key_needs_the_old_one(
        self, key: ApiKey, alice: User
    ) -> None:
        pepper.check(peppers={"old": OLD})
        keys.delete(key=key, by=alice)
        pepper.check(peppers={"new": NEW, "old": OLD})
        pepper.check(peppers={"new": NEW})
        assert SecretFingerprint.objects.get().pepper_id == "new"


class TestFingerprint:
    def test_it_tells_peppers_apart(self) -> None:
        assert pepper.fingerprint(OLD) == pepper.fingerprint(OLD)
        assert pepper.fingerprint(OLD) != pepper.fingerprint(NEW)
