"""The end of an account, without a page around it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts import audit, erasure, members, workspaces
from accounts.errors import Forbidden
from accounts.models import AuditEvent, Invitation, Membership, User, Workspace
from tests import pages


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


@pytest.fixture
def ann(db: None) -> User:
    """Somebody whose address is part of many another's."""
    return named("ann", "Ann Li")


@pytest.fixture
def club(db: None) -> Workspace:
    """A workspace of others."""
    return workspaces.create(owner=pages.person("bob"), name="Club")


def named(address: str, name: str) -> User:
    """Somebody with a name."""
    user = pages.person(address)
    User.objects.filter(pk=user.pk).update(name=name)
    user.refresh_from_db()
    return user


def write(club: Workspace, said: Any, *, name: str = "theirs") -> AuditEvent:
    """An event of somebody else that says something."""
    with transaction.atomic():
        audit.record(
            action="x.changed",
            by=None,
            target=audit.Target("x_1", name),
            workspaces=[club],
            before={"said": None},
            after={"said": said},
        )
    return AuditEvent.objects.get(target="x_1")


class TestMentions:
    @pytest.mark.parametrize(
        "said",
        [
            "ann@example.com",
            "Asked for by Ann@Example.com.",
            "Ann <ann@example.com>, 'ann@example.com'",
            "by mail:\nann@example.com",
            "a\\ann@example.com",
            "mailto:ann@example.com",
            ["x", {"deeper": ["ann@example.com"]}],
        ],
    )
    def test_of_the_address_are_blanked_wherever_they_stand(
        self, ann: User, club: Workspace, said: Any
    ) -> None:
        event = write(club, said)

        erasure.erase(user=ann)

        event.refresh_from_db()
        assert (event.before, event.after, event.action) == (None, None, "x.changed")

    @pytest.mark.parametrize(
        "said",
        [
            "joann@example.com",
            "jo.ann@example.com",
            "jo-ann@example.com",
            "jo+ann@example.com",
            "o'ann@example.com",
            "ann@example.com.au",
            "ann@example.community",
            "ann@example.com-pany.net",
            "ann@exampleXcom",
            "Ann Li",
            {"ann@example.com.au": "joann@example.com"},
        ],
    )
    def test_of_others_stay_whatever_part_they_share(
        self, ann: User, club: Workspace, said: Any
    ) -> None:
        event = write(club, said, name=str(said))

        erasure.erase(user=ann)

        event.refresh_from_db()
        assert (event.target_name, event.after) == (str(said), {"said": said})

    def test_of_a_name_are_found_by_the_id_of_the_seat(self, ann: User, club: Workspace) -> None:
        other = named("other", "Ann Li")
        for user in (ann, other):
            seat = members.add(workspace=club, user=user, role="viewer", by=None)
            members.change_role(membership=seat, role="developer", by=None)
        hers = Membership.objects.get(user=ann, workspace=club).public_id
        theirs = Membership.objects.get(user=other, workspace=club).public_id
        # She has left, and is called something else by now.
        members.remove(membership=Membership.objects.get(public_id=hers), by=None)
        User.objects.filter(pk=ann.pk).update(name="Ann Wu")

        erasure.erase(user=ann)

        names = {
            seat: set(AuditEvent.objects.filter(target=seat).values_list("target_name", flat=True))
            for seat in (hers, theirs)
        }
        assert names == {hers: {""}, theirs: {"Ann Li"}}

    def test_of_an_earlier_address_are_found_by_the_invitation(
        self, ann: User, club: Workspace
    ) -> None:
        taken, open_yet = (
            Invitation.objects.create(
                workspace=club, email="old@example.com", role="viewer", digest=digest,
                expires_at=timezone.now(), accepted_by=by,
                accepted_at=timezone.now() if by else None,
            )
            for digest, by in ((b"1", ann), (b"2", None))
        )  # fmt: skip
        for each in (taken, open_yet):
            with transaction.atomic():
                audit.record(
                    action="invitation.created",
                    by=None,
                    target=audit.Target(each.public_id, each.email),
                    workspaces=[club],
                )

        erasure.erase(user=ann)

        events = AuditEvent.objects.filter(action="invitation.created", workspace=club)
        assert dict(events.values_list("target", "target_name")) == {
            taken.public_id: "",
            open_yet.public_id: "old@example.com",
        }
