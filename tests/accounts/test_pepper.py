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

    def test_the_record_moves_on_when_the_old_one_is_gone_and_no_living_key_needs_it(
        self, key: ApiKey, alice: User
    ) -> None:
        name = key.pepper_id
        pepper.check(peppers={name: OLD})
        with pytest.raises(PepperError, match="1 API keys need"):
            pepper.check(peppers={"new": NEW})
        keys.delete(key=key, by=alice)
        pepper.check(peppers={"new": NEW, name: OLD})
        assert SecretFingerprint.objects.get().pepper_id == name
        pepper.check(peppers={"new": NEW})
        assert SecretFingerprint.objects.get().pepper_id == "new"

    def test_another_pepper_under_the_same_id_is_refused_even_without_keys(self) -> None:
        pepper.check(peppers={"old": OLD})
        with pytest.raises(PepperError):
            pepper.check(peppers={"old": NEW})

    def test_a_first_look_records_the_pepper_of_the_oldest_key(self, key: ApiKey) -> None:
        pepper.check(peppers={"new": NEW, key.pepper_id: OLD})
        assert SecretFingerprint.objects.get().pepper_id == key.pepper_id


@pytest.mark.django_db
class TestMissing:
    def test_it_counts_living_keys_under_what_is_not_configured(
        self, key: ApiKey, alice: User
    ) -> None:
        assert pepper.missing(peppers={key.pepper_id: OLD}) == {}
        assert pepper.missing(peppers={"new": NEW}) == {key.pepper_id: 1}
        keys.delete(key=key, by=alice)
        assert pepper.missing(peppers={"new": NEW}) == {}

    def test_a_pepper_that_has_another_id_now_is_there(self, key: ApiKey) -> None:
        pepper.check(peppers={key.pepper_id: OLD})
        assert pepper.missing(peppers={"renamed": OLD}) == {}


class TestFingerprint:
    def test_it_tells_peppers_apart(self) -> None:
        assert pepper.fingerprint(OLD) == pepper.fingerprint(OLD)
        assert pepper.fingerprint(OLD) != pepper.fingerprint(NEW)
