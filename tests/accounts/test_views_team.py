"""The team's page: members, roles, invitations, service accounts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import service_accounts, workspaces
from accounts.models import Invitation, Membership, ServiceAccount, User, Workspace
from tests import pages

Join = Callable[[User, Workspace, str], None]


@pytest.fixture
def place(alice: User) -> Workspace:
    """A workspace of Alice that is not her personal one."""
    return workspaces.create(owner=alice, name="Lab")


@pytest.fixture
def owner(alice: User, place: Workspace) -> Client:
    return pages.browser(alice, workspace=place)


def role_of(user: User, workspace: Workspace) -> str | None:
    found = Membership.objects.filter(user=user, workspace=workspace)
    return found.values_list("role", flat=True).first()


def seat_id(user: User, workspace: Workspace) -> str:
    return Membership.objects.get(user=user, workspace=workspace).public_id


class TestTeam:
    def test_an_owner_sees_what_is_empty_and_what_to_do(self, owner: Client) -> None:
        page = owner.get("/dashboard/team").content.decode()

        for testid in ("no-invitations", "no-services", "invite-form", "service-form", "to-audit"):
            assert f'data-testid="{testid}"' in page

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer"])
    def test_others_see_the_members_and_no_forms(
        self, bob: User, place: Workspace, join: Join, role: str
    ) -> None:
        join(bob, place, role)

        page = pages.browser(bob, workspace=place).get("/dashboard/team").content.decode()

        assert "alice@example.com" in page
        for testid in ("invite-form", "service-form", "member-role", "remove-member", "to-audit"):
            assert f'data-testid="{testid}"' not in page

    def test_the_only_owner_is_told_why_leaving_is_not_offered(
        self, owner: Client, bob: User, place: Workspace, join: Join
    ) -> None:
        alone = owner.get("/dashboard/team").content.decode()
        join(bob, place, "owner")
        page = owner.get("/dashboard/team").content.decode()

        assert 'data-testid="last-owner"' in alone
        assert 'data-testid="leave"' not in alone
        assert 'data-testid="leave"' in page
        assert 'data-testid="last-owner"' not in page

    def test_names_are_words_never_markup(self, alice: User, owner: Client) -> None:
        User.objects.filter(pk=alice.pk).update(name="<script>alert(1)</script>")

        assert "<script>alert" not in owner.get("/dashboard/team").content.decode()


class TestPages:
    def walk(self, owner: Client, name: str, pattern: str) -> list[list[str]]:
        """What each page of one of the lists shows."""
        address, found = "/dashboard/team", []
        while True:
            page = owner.get(address).content.decode()
            found.append(re.findall(pattern, page))
            following = re.search(rf'href="(\?{name}=[^"#]+)#{name}-title"', page)
            if following is None:
                return found
            address = f"/dashboard/team{following[1]}"

    def test_a_large_team_is_shown_by_the_page_and_everybody_once(
        self, alice: User, place: Workspace, owner: Client
    ) -> None:
        crowd = User.objects.bulk_create(
            [User(email=f"m{number}@example.com", password="!") for number in range(101)]
        )
        Membership.objects.bulk_create(
            [Membership(workspace=place, user=user, role="viewer") for user in crowd]
        )

        shown = self.walk(owner, "members", 'data-testid="member" data-email="([^"]+)"')

        newest = [user.email for user in reversed(crowd)]
        assert shown == [[alice.email, *newest[:50]], newest[50:100], newest[100:]]

    def test_so_are_invitations_and_service_accounts(self, place: Workspace, owner: Client) -> None:
        later = timezone.now() + timedelta(days=1)
        for number in range(51):
            ServiceAccount.objects.create(workspace=place, name=f"robot {number}", role="viewer")
            Invitation.objects.create(
                workspace=place, email=f"i{number}@example.com", role="viewer",
                digest=b"%d" % number, expires_at=later,
            )  # fmt: skip

        for name, pattern in (
            ("invitations", r">(i\d+@example.com)<"),
            ("services", r">robot (\d+)<"),
        ):
            assert [len(set(rows)) for rows in self.walk(owner, name, pattern)] == [50, 1]

    def test_a_place_that_is_none_is_refused(self, owner: Client) -> None:
        assert owner.get("/dashboard/team?members=x").status_code == 400


class TestInvite:
    def test_a_colleague_follows_the_link_and_is_in(
        self,
        owner: Client,
        bob: User,
        place: Workspace,
        django_capture_on_commit_callbacks: Callable[..., object],
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
            owner.post("/dashboard/team/invite", {"email": bob.email, "role": "developer"})
        token = str(mail.outbox[-1].body).split("/invitations/")[1].split()[0]

        pages.browser(bob).post(f"/invitations/{token}")

        assert role_of(bob, place) == "developer"

    def test_somebody_else_who_is_signed_in_is_told_whose_it_is(
        self,
        owner: Client,
        bob: User,
        place: Workspace,
        django_capture_on_commit_callbacks: Callable[..., object],
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
            owner.post("/dashboard/team/invite", {"email": "c@example.com", "role": "viewer"})
        link = "/invitations/" + str(mail.outbox[-1].body).split("/invitations/")[1].split()[0]
        browser = pages.browser(bob)

        page = browser.get(link).content.decode()
        refused = browser.post(link)
        out = browser.post("/accounts/logout/", {"next": f"/login?next={link}"})

        assert f"It is for c@example.com. You are signed in as {bob.email}." in page
        assert 'data-testid="accept-invitation"' not in page
        assert refused.status_code == 403
        assert not Membership.objects.filter(workspace=place, user=bob).exists()
        assert out["Location"] == f"/login?next={link}"

    @pytest.mark.parametrize(
        ("typed", "why"),
        [
            ("x@", "This is no email address."),
            ("alice@example.com", "alice@example.com is a member already."),
        ],
    )
    def test_a_refusal_is_told_at_the_field_and_what_was_typed_stays(
        self, owner: Client, typed: str, why: str
    ) -> None:
        answer = owner.post("/dashboard/team/invite", {"email": typed, "role": "viewer"})

        page = answer.content.decode()
        [field] = re.findall(r'<input id="invite-email"[^>]*>', page)
        assert answer.status_code == 400
        assert f'value="{typed}"' in field
        assert 'aria-invalid="true" aria-describedby="invite-error"' in field
        assert re.search(rf'id="invite-error"[^>]*>{why}</p>', page)
        assert re.search(
            r'<option value="viewer" selected>', page.split('data-testid="invite-role"')[1]
        )
        assert not Invitation.objects.exists()

    def test_a_developer_may_not(self, bob: User, place: Workspace, join: Join) -> None:
        join(bob, place, "developer")
        browser = pages.browser(bob, workspace=place)

        answer = browser.post(
            "/dashboard/team/invite", {"email": "c@example.com", "role": "viewer"}
        )

        assert answer.status_code == 403
        assert not Invitation.objects.exists()

    def test_taken_back_it_is_gone(self, owner: Client) -> None:
        owner.post("/dashboard/team/invite", {"email": "c@example.com", "role": "viewer"})
        invitation = Invitation.objects.get()

        owner.post(f"/dashboard/team/invitations/{invitation.public_id}/revoke")

        assert 'data-testid="no-invitations"' in owner.get("/dashboard/team").content.decode()


class TestMembers:
    def test_a_role_is_changed_and_taken(
        self, owner: Client, bob: User, place: Workspace, join: Join
    ) -> None:
        join(bob, place, "viewer")
        address = f"/dashboard/team/members/{seat_id(bob, place)}"

        owner.post(f"{address}/role", {"role": "admin"})
        changed = role_of(bob, place)
        owner.post(f"{address}/remove")

        assert (changed, role_of(bob, place)) == ("admin", None)

    def test_the_page_asks_for_the_address_before_somebody_is_removed(
        self, owner: Client, bob: User, place: Workspace, join: Join
    ) -> None:
        join(bob, place, "viewer")

        page = owner.get("/dashboard/team").content.decode()
        own = pages.browser(bob, workspace=place).get("/dashboard/team").content.decode()

        assert 'data-must-equal="bob@example.com"' in page
        assert f'data-must-equal="{place.name}"' in own

    def test_the_last_owner_stays(self, owner: Client, alice: User, place: Workspace) -> None:
        address = f"/dashboard/team/members/{seat_id(alice, place)}/remove"

        page = owner.post(address, follow=True).content.decode()

        assert "keeps at least one owner" in page
        assert role_of(alice, place) == "owner"

    def test_a_member_leaves(self, bob: User, place: Workspace, join: Join) -> None:
        join(bob, place, "developer")
        browser = pages.browser(bob, workspace=place)

        answer = browser.post(f"/dashboard/team/members/{seat_id(bob, place)}/remove")

        assert (answer["Location"], role_of(bob, place)) == ("/dashboard", None)

    def test_a_member_of_another_workspace_is_not_found(
        self, owner: Client, bob: User, away: Workspace
    ) -> None:
        answer = owner.post(f"/dashboard/team/members/{seat_id(bob, away)}/remove")

        assert answer.status_code == 404
        assert role_of(bob, away) == "owner"


class TestServiceAccounts:
    def test_made_stopped_started_and_moved(self, owner: Client, place: Workspace) -> None:
        owner.post("/dashboard/team/services", {"name": "Robot", "role": "developer"})
        account = ServiceAccount.objects.get(workspace=place)
        address = f"/dashboard/team/services/{account.public_id}"

        owner.post(address, {"act": "disable"})
        account.refresh_from_db()
        stopped = account.disabled_at is not None
        owner.post(address, {"act": "enable"})
        owner.post(address, {"role": "viewer"})

        account.refresh_from_db()
        assert (stopped, account.disabled_at, account.role) == (True, None, "viewer")

    def test_a_viewer_touches_none(
        self, alice: User, bob: User, place: Workspace, join: Join
    ) -> None:
        account = service_accounts.create(workspace=place, name="R", role="viewer", by=alice)
        join(bob, place, "viewer")
        browser = pages.browser(bob, workspace=place)

        made = browser.post("/dashboard/team/services", {"name": "X", "role": "viewer"})
        stopped = browser.post(f"/dashboard/team/services/{account.public_id}", {"act": "disable"})

        assert (made.status_code, stopped.status_code) == (403, 403)
        assert ServiceAccount.objects.get(workspace=place).disabled_at is None
