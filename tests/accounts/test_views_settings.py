"""A person's settings, the workspace's name, and the end of either."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts import workspaces
from accounts.models import ApiKey, AuditEvent, Membership, User, Workspace
from accounts.seats import SESSION_KEY
from tests import pages

Join = Callable[[User, Workspace, str], None]
DELETE = "/dashboard/settings/delete"


def signed_in(user: User) -> Client:
    """A browser in which somebody has just typed their password."""
    browser = Client()
    answer = browser.post("/login", {"login": user.email, "password": pages.PASSWORD})
    assert answer.status_code == 302
    browser.post("/accounts/reauthenticate/", {"password": pages.PASSWORD})
    return browser


class TestSettingsPage:
    def test_everything_is_reached_from_it(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/settings").content.decode()

        for testid in ("profile-form", "to-mfa", "to-sessions", "my-data", "delete-account"):
            assert f'data-testid="{testid}"' in page

    @pytest.mark.parametrize("path", ["/accounts/sessions/", "/accounts/2fa/", "/accounts/email/"])
    def test_its_pages_have_our_looks(self, alice: User, path: str) -> None:
        answer = signed_in(alice).get(path)

        assert answer.status_code == 200
        item = answer.content.decode().split('data-testid="nav-settings"')[0].rsplit("<a", 1)[1]
        assert 'aria-current="page"' in item

    def test_one_address_is_offered_only_what_does_something(self, alice: User) -> None:
        browser = signed_in(alice)
        alone = browser.get("/accounts/email/").content.decode()
        EmailAddress.objects.create(user=alice, email="second@example.com")
        EmailAddress.objects.create(user=alice, email="third@example.com")
        page = browser.get("/accounts/email/").content.decode()

        for action in ("action_primary", "action_send", "action_remove"):
            assert f'name="{action}"' not in alone
            assert page.count(f'name="{action}"') == 1

    def test_sessions_are_named_shortly_and_the_present_one_is_marked(self, alice: User) -> None:
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
        signed_in(alice)
        UserSession.objects.update(user_agent=agent)
        browser = signed_in(alice)
        page = browser.get("/accounts/sessions/").content.decode()

        assert "Firefox 126, Linux" in page
        assert agent in page
        assert page.count('data-testid="this-device"') == 1


class TestProfile:
    def test_name_and_zone_are_kept(self, alice: User) -> None:
        browser = pages.browser(alice)
        form = {"name": "Alice", "language": "en", "time_zone": "Europe/Berlin"}

        browser.post("/dashboard/settings/profile", form)

        alice.refresh_from_db()
        assert (alice.name, alice.time_zone) == ("Alice", "Europe/Berlin")
        assert 'data-time-zone="Europe/Berlin"' in browser.get("/dashboard").content.decode()

    def test_a_zone_that_is_none_is_told(self, alice: User) -> None:
        form = {"name": "", "language": "en", "time_zone": "Moon/Crater"}

        answer = pages.browser(alice).post("/dashboard/settings/profile", form)

        assert answer.status_code == 400
        assert "Moon/Crater is not one of the available choices" in answer.content.decode()

    def test_a_name_that_no_page_can_show_is_told(self, alice: User) -> None:
        form = {"name": "Ali\u200bce", "language": "en", "time_zone": "UTC"}

        answer = pages.browser(alice).post("/dashboard/settings/profile", form)

        assert answer.status_code == 400
        assert "printable characters" in answer.content.decode()


class TestWorkspace:
    def test_it_is_renamed_by_who_may(
        self, alice: User, bob: User, join: Join, home: Workspace
    ) -> None:
        join(bob, home, "developer")
        address = "/dashboard/settings/workspace"

        refused = pages.browser(bob, workspace=home).post(address, {"name": "Bob's"})
        pages.browser(alice).post(address, {"name": "Lab"})

        home.refresh_from_db()
        assert (refused.status_code, home.name) == (403, "Lab")

    def test_a_new_one_is_entered_at_once(self, alice: User) -> None:
        browser = pages.browser(alice)

        browser.post("/dashboard/settings/workspaces", {"name": "Second"})

        made = Workspace.objects.get(name="Second")
        assert browser.session[SESSION_KEY] == made.public_id

    @pytest.mark.parametrize(("typed", "closed"), [("lab", False), ("Lab", True)])
    def test_it_is_closed_when_its_name_is_typed(
        self, alice: User, typed: str, closed: bool
    ) -> None:
        place = workspaces.create(owner=alice, name="Lab")
        browser = pages.browser(alice, workspace=place)

        browser.post("/dashboard/settings/workspace/close", {"name": typed})

        place.refresh_from_db()
        assert (place.closed_at is not None) is closed

    def test_an_admin_does_not_close_it(self, alice: User, bob: User, join: Join) -> None:
        place = workspaces.create(owner=alice, name="Lab")
        join(bob, place, "admin")
        browser = pages.browser(bob, workspace=place)

        answer = browser.post("/dashboard/settings/workspace/close", {"name": "Lab"})

        place.refresh_from_db()
        assert (answer.status_code, place.closed_at) == (403, None)


class TestPersonalRecord:
    def test_it_names_what_is_kept_and_no_secret(self, alice: User) -> None:
        key = pages.make_key(alice, name="Night job")

        answer = pages.browser(alice).get("/dashboard/settings/data.json")

        told = answer.json()
        assert told["user"]["email"] == "alice@example.com"
        assert [row["public_id"] for row in told["keys"]] == [key.public_id]
        assert not {"password", "digest", "data"} & set(answer.content.decode().split('"'))


class TestDeleteAccount:
    def test_the_person_goes_and_the_records_stay(self, alice: User, home: Workspace) -> None:
        key = pages.make_key(alice)
        usage = pages.closed_request(key, home)
        browser = signed_in(alice)

        page = browser.post(DELETE, {"name": "alice@example.com"})

        alice.refresh_from_db()
        home.refresh_from_db()
        assert 'data-testid="account-deleted"' in page.content.decode()
        assert (alice.is_active, alice.name) == (False, "")
        assert "alice" not in alice.email
        assert home.closed_at is not None
        assert ApiKey.objects.get(pk=key.pk).deleted_at is not None
        usage.refresh_from_db()
        assert AuditEvent.objects.filter(action="account.deleted", workspace=home).exists()
        assert browser.get("/dashboard")["Location"].startswith("/login")
        again = Client().post("/login", {"login": alice.email, "password": pages.PASSWORD})
        assert again.status_code == 200

    def test_the_address_is_free_again(self, alice: User) -> None:
        signed_in(alice).post(DELETE, {"name": "alice@example.com"})

        form = {"email": "alice@example.com", "password1": pages.PASSWORD}
        answer = Client().post("/signup", form)

        assert answer.status_code == 302
        assert User.objects.filter(email="alice@example.com").exists()

    def test_another_name_deletes_nothing(self, alice: User) -> None:
        answer = signed_in(alice).post(DELETE, {"name": "bob@example.com"})

        alice.refresh_from_db()
        assert (answer.status_code, alice.is_active) == (400, True)

    def test_the_only_owner_of_a_workspace_is_told_which(self, alice: User) -> None:
        workspaces.create(owner=alice, name="Lab")

        answer = signed_in(alice).post(DELETE, {"name": "alice@example.com"})

        assert "only owner of Lab" in answer.content.decode()
        assert User.objects.get(pk=alice.pk).is_active

    def test_memberships_elsewhere_end(self, alice: User, away: Workspace, join: Join) -> None:
        join(alice, away, "developer")

        signed_in(alice).post(DELETE, {"name": "alice@example.com"})

        assert not Membership.objects.filter(user=alice, workspace=away).exists()

    def test_a_session_without_a_fresh_password_is_asked_for_it(self, alice: User) -> None:
        browser = pages.browser(alice)

        answer = browser.post(DELETE, {"name": "alice@example.com"})

        assert "/reauthenticate/" in answer["Location"]
        assert User.objects.get(pk=alice.pk).is_active
