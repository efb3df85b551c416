from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from accounts import keys, members, signup
from accounts.actors import Staff
from accounts.errors import Forbidden, Invalid
from accounts.models import ApiKey, Membership, User, Workspace
from tests.accounts.races import together
from tests.accounts.test_keys import carried_by, new, record

Join = Callable[[User, Workspace, str], None]
HOUR = timedelta(hours=1)


class TestRotate:
    def test_both_texts_work_until_the_overlap_ends(self, alice: User, home: Workspace) -> None:
        old, old_text = new(alice, home, models=["a"], rpm=10)
        fresh, text = keys.rotate(key=old, overlap=HOUR, by=alice)
        assert (fresh.replaces, fresh.models, fresh.rpm) == (old, ["a"], 10)
        assert carried_by(fresh) == {home.pk}
        assert not record(text).expired(now=timezone.now() + 2 * HOUR)
        assert not record(old_text).expired(now=timezone.now())
        assert record(old_text).expired(now=timezone.now() + HOUR)

    def test_without_overlap_the_old_text_ends_at_once(self, alice: User, home: Workspace) -> None:
        old, text = new(alice, home)
        keys.rotate(key=old, overlap=timedelta(0), by=alice)
        assert record(text).expired(now=timezone.now())

    def test_an_overlap_lengthens_no_life(self, alice: User, home: Workspace) -> None:
        end = timezone.now() + HOUR
        old, _ = new(alice, home, expires_at=end)
        fresh, _ = keys.rotate(key=old, overlap=5 * HOUR, by=alice)
        old.refresh_from_db()
        assert (old.expires_at, fresh.expires_at) == (end, end)

    @pytest.mark.parametrize("overlap", [-HOUR, timedelta(days=91)])
    def test_the_overlap_has_bounds(self, key: ApiKey, alice: User, overlap: timedelta) -> None:
        with pytest.raises(Invalid):
            keys.rotate(key=key, overlap=overlap, by=alice)

    def test_nobody_receives_the_text_of_anothers_key(
        self, alice: User, bob: User, home: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home)
        with pytest.raises(Forbidden):
            keys.rotate(key=key, overlap=HOUR, by=alice)

    def test_a_key_with_more_than_todays_rights_is_not_renewed(
        self, bob: User, home: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home)
        membership = Membership.objects.get(user=bob, workspace=home)
        members.change_role(membership=membership, role="viewer", by=None)
        with pytest.raises(Forbidden):
            keys.rotate(key=key, overlap=HOUR, by=bob)

    def test_a_stopped_key_is_not_renewed(self, key: ApiKey, alice: User) -> None:
        keys.disable(key=key, by=alice)
        with pytest.raises(Invalid, match="works no more"):
            keys.rotate(key=key, overlap=HOUR, by=alice)

    def test_one_that_staff_disabled_has_no_successor(
        self, key: ApiKey, alice: User, bob: User
    ) -> None:
        keys.disable(key=key, by=Staff(bob))
        with pytest.raises(Forbidden, match="operator disabled this key"):
            keys.rotate(key=key, overlap=HOUR, by=alice)
        with pytest.raises(Invalid, match="works no more"):
            keys.rotate(key=key, overlap=HOUR, by=None)
        assert not key.replaced_by.exists()


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_two_rotations_of_one_key_both_end_it(self) -> None:
        owner = signup.register(email="o@example.com", password="a-long-pass", verified=True)
        place = Workspace.objects.get(personal_of=owner)
        key, text = new(owner, place)
        rotation = partial(keys.rotate, key=key, overlap=timedelta(0), by=owner)
        refused = together(rotation, rotation)
        assert [error.args[0] for error in refused] == ["This key works no more; create a new one."]
        assert record(text).expired(now=timezone.now())
        assert key.replaced_by.count() == 1
