from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from accounts import keyrecord, keys, members, signup, workspaces
from accounts.errors import Forbidden, ForeignWorkspace, Invalid
from accounts.models import ApiKeyWorkspace, Membership, User, Workspace
from tests.accounts.races import together

Join = Callable[[User, Workspace, str], None]


@pytest.fixture
def acme(alice: User) -> Workspace:
    return workspaces.create(owner=alice, name="Acme")


def membership(user: User, workspace: Workspace) -> Membership:
    return Membership.objects.get(user=user, workspace=workspace)


class TestAdd:
    def test_an_owner_adds_any_role(self, alice: User, bob: User, acme: Workspace) -> None:
        assert members.add(workspace=acme, user=bob, role="owner", by=alice).role == "owner"

    def test_an_admin_makes_no_owner(
        self, bob: User, person: Callable[[str], User], acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "admin")
        carol = person("carol")
        with pytest.raises(Forbidden, match="owner"):
            members.add(workspace=acme, user=carol, role="owner", by=bob)
        assert members.add(workspace=acme, user=carol, role="admin", by=bob)

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer"])
    def test_others_add_nobody(
        self, bob: User, person: Callable[[str], User], acme: Workspace, join: Join, role: str
    ) -> None:
        join(bob, acme, role)
        with pytest.raises(Forbidden):
            members.add(workspace=acme, user=person("carol"), role="viewer", by=bob)

    def test_a_stranger_adds_nobody(self, bob: User, acme: Workspace) -> None:
        with pytest.raises(ForeignWorkspace):
            members.add(workspace=acme, user=bob, role="viewer", by=bob)

    def test_nobody_is_added_twice(self, alice: User, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="already"):
            members.add(workspace=acme, user=alice, role="viewer", by=alice)

    def test_an_unknown_role_is_refused(self, alice: User, bob: User, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="king"):
            members.add(workspace=acme, user=bob, role="king", by=alice)

    def test_a_closed_workspace_takes_nobody(self, alice: User, bob: User, acme: Workspace) -> None:
        workspaces.close(workspace=acme, by=alice)
        with pytest.raises(Invalid, match="closed"):
            members.add(workspace=acme, user=bob, role="viewer", by=alice)


class TestChangeRole:
    def test_keys_follow_at_once(self, alice: User, bob: User, acme: Workspace, join: Join) -> None:
        join(bob, acme, "developer")
        key, text = keys.create(name="k", workspaces=[acme], user=bob, scopes=["chat"], by=bob)
        members.change_role(membership=membership(bob, acme), role="viewer", by=alice)
        record = keyrecord.find(text=text)
        assert record is not None
        assert record.version > key.version
        assert record.workspaces[0].scopes == frozenset()

    def test_the_last_owner_stays_owner(self, alice: User, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="at least one owner"):
            members.change_role(membership=membership(alice, acme), role="admin", by=alice)

    def test_an_owner_who_may_not_sign_in_does_not_count(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "owner")
        User.objects.filter(pk=bob.pk).update(is_active=False)
        with pytest.raises(Invalid, match="at least one owner"):
            members.change_role(membership=membership(alice, acme), role="admin", by=alice)

    def test_an_admin_demotes_no_owner(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "admin")
        with pytest.raises(Forbidden):
            members.change_role(membership=membership(alice, acme), role="viewer", by=bob)
        with pytest.raises(Forbidden):
            members.change_role(membership=membership(bob, acme), role="owner", by=bob)

    def test_with_two_owners_one_may_step_back(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "owner")
        changed = members.change_role(membership=membership(alice, acme), role="admin", by=alice)
        assert changed.role == "admin"


class TestRemove:
    def test_the_persons_keys_lose_the_workspace_at_once(
        self, alice: User, bob: User, acme: Workspace, away: Workspace, join: Join
    ) -> None:
        join(bob, acme, "developer")
        key, text = keys.create(
            name="k", workspaces=[acme, away], user=bob, scopes=["chat"], by=bob
        )
        members.remove(membership=membership(bob, acme), by=alice)
        record = keyrecord.find(text=text)
        assert record is not None
        assert record.version > key.version
        assert [workspace.id for workspace in record.workspaces] == [away.pk]

    def test_coming_back_revives_no_key(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "developer")
        _, text = keys.create(name="k", workspaces=[acme], user=bob, scopes=["chat"], by=bob)
        members.remove(membership=membership(bob, acme), by=alice)
        join(bob, acme, "developer")
        record = keyrecord.find(text=text)
        assert record is not None
        assert record.workspaces == ()

    def test_anyone_may_leave(self, bob: User, acme: Workspace, join: Join) -> None:
        join(bob, acme, "viewer")
        members.remove(membership=membership(bob, acme), by=bob)
        assert not Membership.objects.filter(user=bob, workspace=acme).exists()

    def test_the_last_owner_cannot_leave(self, alice: User, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="at least one owner"):
            members.remove(membership=membership(alice, acme), by=alice)

    def test_nobody_leaves_their_personal_workspace(
        self, alice: User, bob: User, home: Workspace, join: Join
    ) -> None:
        join(bob, home, "owner")
        for by in (alice, bob):
            with pytest.raises(Invalid, match="personal"):
                members.remove(membership=membership(alice, home), by=by)

    def test_a_member_removes_nobody_else(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "developer")
        with pytest.raises(Forbidden):
            members.remove(membership=membership(alice, acme), by=bob)

    def test_a_second_removal_says_so(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "viewer")
        row = membership(bob, acme)
        members.remove(membership=Membership.objects.get(pk=row.pk), by=alice)
        with pytest.raises(Invalid, match="no member"):
            members.remove(membership=row, by=alice)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_two_owners_who_leave_together_leave_one(self) -> None:
        first, second = (
            signup.register(email=f"{name}@example.com", password="a-long-pass", verified=True)
            for name in ("first", "second")
        )
        place = workspaces.create(owner=first, name="Acme")
        members.add(workspace=place, user=second, role="owner", by=first)
        rows = list(Membership.objects.filter(workspace=place))
        refused = together(*(partial(members.remove, membership=row, by=None) for row in rows))
        assert [str(error) for error in refused] == [
            "A workspace keeps at least one owner; appoint another one first."
        ]
        assert Membership.objects.filter(workspace=place).count() == 1

    def test_a_key_never_enters_a_workspace_that_its_owner_is_leaving(self) -> None:
        owner, guest = (
            signup.register(email=f"{name}@example.com", password="a-long-pass", verified=True)
            for name in ("owner", "guest")
        )
        place = workspaces.create(owner=owner, name="Acme")
        home = Workspace.objects.get(personal_of=guest)
        for _ in range(15):
            row = members.add(workspace=place, user=guest, role="developer", by=None)
            key, _text = keys.create(
                name="k", workspaces=[home], user=guest, scopes=["chat"], by=guest
            )
            together(
                partial(members.remove, membership=row, by=owner),
                partial(keys.update, key=key, workspaces=[place], by=guest),
            )
            assert not ApiKeyWorkspace.objects.filter(workspace=place).exists()
