"""Invitations are good as long as whoever sent them may still give the role."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial

import pytest

from accounts import invitations, keys, service_accounts, workspaces
from accounts.errors import Forbidden
from accounts.models import Invitation, Membership, ServiceAccount, User, Workspace
from tests import pages
from tests.accounts.races import behind


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """The token of every link from now on."""
    text = "a-token-that-is-known"
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _bytes: text)
    return text


@pytest.fixture
def place(alice: User) -> Workspace:
    return workspaces.create(owner=alice, name="Place", by=alice)


@pytest.fixture
def robot(alice: User, place: Workspace) -> ServiceAccount:
    return service_accounts.create(workspace=place, name="robot", role="admin", by=alice)


def invite(robot: ServiceAccount, user: User, role: str = "admin") -> Invitation:
    """An invitation by a key of a service account, which holds all that the role includes."""
    scopes = [
        *("keys:read", "keys:manage", "billing:read", "billing:manage", "members:manage"),
        *("webhooks:manage", "audit:read", "models:read", "usage:read"),
    ]
    place = robot.workspace
    _, text = keys.create(
        name="k", workspaces=[place], by=None, service_account=robot, scopes=scopes
    )
    by = keys.find(text=text)
    assert by is not None
    return invitations.create(workspace=place, email=user.email, role=role, by=by)


def disable(robot: ServiceAccount) -> None:
    service_accounts.disable(account=robot, by=None)


def lower(robot: ServiceAccount) -> None:
    service_accounts.change_role(account=robot, role="developer", by=None)


@pytest.mark.django_db
class TestAccept:
    def test_what_a_service_account_sent_is_good(
        self, robot: ServiceAccount, bob: User, token: str
    ) -> None:
        invite(robot, bob)

        assert invitations.accept(token=token, user=bob).role == "admin"

    @pytest.mark.parametrize("end", [disable, lower])
    def test_not_once_the_service_account_may_no_more(
        self, robot: ServiceAccount, bob: User, token: str, end: Callable[[ServiceAccount], None]
    ) -> None:
        invite(robot, bob)
        end(robot)

        with pytest.raises(Forbidden, match="may not do so any more"):
            invitations.accept(token=token, user=bob)

        assert not Membership.objects.filter(user=bob, workspace=robot.workspace).exists()

    def test_what_a_person_sends_again_is_theirs(
        self, alice: User, robot: ServiceAccount, bob: User, token: str
    ) -> None:
        made = invite(robot, bob)
        disable(robot)
        Invitation.objects.filter(pk=made.pk).update(digest=b"another")
        invitations.resend(invitation=made, by=alice)

        assert invitations.accept(token=token, user=bob).role == "admin"


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_who_accepts_waits_for_the_end_of_a_service_account(self, token: str) -> None:
        alice, bob = pages.person("alice"), pages.person("bob")
        place = workspaces.create(owner=alice, name="Place", by=alice)
        robot = service_accounts.create(workspace=place, name="robot", role="admin", by=alice)
        invite(robot, bob)

        with pytest.raises(Forbidden, match="may not do so any more"):
            behind(partial(disable, robot), lambda: invitations.accept(token=token, user=bob))

        assert not Membership.objects.filter(user=bob, workspace=place).exists()
