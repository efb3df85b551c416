from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.messages import get_messages
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts import keys, members, signup
from accounts.models import ApiKey, AuditEvent, Membership, ServiceAccount, Tier, User, Workspace
from tests import staffing


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@example.com", "a-long-pass")


def asked(rf: RequestFactory, user: User, values: dict[str, Any] | None = None) -> HttpRequest:
    request = rf.get("/admin/") if values is None else rf.post("/admin/", values)
    request.user = user
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # what Django's client does
    for middleware in (SessionMiddleware, MessageMiddleware):
        middleware(lambda _request: HttpResponse()).process_request(request)
    return request


def why(action: str) -> tuple[str, str]:
    """The target and the reason of what one member of the staff did, as only staff read it."""
    event = AuditEvent.objects.get(action=action, workspace=None)
    assert event.after is not None
    return event.target, event.after["reason"]


def said(request: HttpRequest) -> list[str]:
    return [str(message) for message in get_messages(request)]


class TestRegistration:
    def test_every_model_is_registered(self) -> None:
        models = set(apps.get_app_config("accounts").get_models())
        assert models <= set(admin.site._registry)


class TestApiKeyAdmin:
    def test_no_page_shows_a_digest(self, rf: RequestFactory, root: User, key: ApiKey) -> None:
        page = admin.site._registry[ApiKey]
        fields = page.get_fields(asked(rf, root), key)
        assert "digest" not in fields
        assert "digest" not in page.list_display

    def test_nobody_edits_or_deletes(self, rf: RequestFactory, root: User, key: ApiKey) -> None:
        page, request = admin.site._registry[ApiKey], asked(rf, root)
        assert not page.has_add_permission(request)
        assert not page.has_change_permission(request, key)
        assert not page.has_delete_permission(request, key)

    def test_staff_disables(self, rf: RequestFactory, root: User, key: ApiKey) -> None:
        values = {"action": "disable", "_selected_action": [key.pk], "reason": "Leaked"}
        admin.site._registry[ApiKey].changelist_view(asked(rf, root, values))
        key.refresh_from_db()
        assert key.disabled_at is not None
        assert why("key.disabled") == (key.public_id, "Leaked")

    @pytest.mark.parametrize("reason", [{}, {"reason": " x "}, {"reason": "x" * 501}])
    def test_nothing_is_disabled_without_a_reason(
        self, rf: RequestFactory, root: User, key: ApiKey, reason: dict[str, str]
    ) -> None:
        request = asked(rf, root, {"action": "disable", "_selected_action": [key.pk]} | reason)
        assert admin.site._registry[ApiKey].changelist_view(request).status_code == 302
        key.refresh_from_db()
        assert key.disabled_at is None
        assert said(request) == ["Nothing was changed: say why, in 3 to 500 characters."]

    def test_staff_without_the_right_does_not(
        self, rf: RequestFactory, bob: User, key: ApiKey
    ) -> None:
        bob.is_staff = True
        assert "disable" not in admin.site._registry[ApiKey].get_actions(asked(rf, bob))


class TestMembershipAdmin:
    def test_the_last_owner_stays_and_staff_is_told(
        self, rf: RequestFactory, root: User, alice: User
    ) -> None:
        membership = Membership.objects.get(user=alice)
        request = asked(rf, root, {"role": "viewer", "reason": "Asked for it"})
        page = admin.site._registry[Membership]
        response = page.changeform_view(request, str(membership.pk))
        membership.refresh_from_db()
        assert (response.status_code, membership.role) == (302, "owner")
        assert said(request) == ["A workspace keeps at least one owner; appoint another one first."]

    def test_adding_and_changing_go_through_the_rules(
        self, rf: RequestFactory, root: User, bob: User, home: Workspace
    ) -> None:
        page = admin.site._registry[Membership]
        values = {"workspace": home.pk, "user": bob.pk, "role": "developer"}
        page.changeform_view(asked(rf, root, values))
        assert not Membership.objects.filter(user=bob, workspace=home).exists(), "no reason"
        page.changeform_view(asked(rf, root, values | {"reason": "Called us"}))
        membership = Membership.objects.get(user=bob, workspace=home)
        page.changeform_view(asked(rf, root, {"role": "viewer"}), str(membership.pk))
        change = {"role": "viewer", "reason": "Left the team"}
        page.changeform_view(asked(rf, root, change), str(membership.pk))
        membership.refresh_from_db()
        assert membership.role == "viewer"
        assert why("member.added") == (membership.public_id, "Called us")
        assert why("member.role_changed") == (membership.public_id, "Left the team")

    def test_removing_takes_the_keys_along(
        self, rf: RequestFactory, root: User, bob: User, home: Workspace
    ) -> None:
        membership = members.add(workspace=home, user=bob, role="developer", by=None)
        key, _ = keys.create(name="k", workspaces=[home], user=bob, scopes=["chat"], by=bob)
        page, one = admin.site._registry[Membership], str(membership.pk)
        request = asked(rf, root, {"post": "yes"})
        page.delete_view(request, one)
        assert said(request) == ["Nothing was changed: say why, in 3 to 500 characters."]
        assert key.workspaces.exists()
        page.delete_view(asked(rf, root, {"post": "yes", "reason": "Left"}), one)
        assert not key.workspaces.exists()
        assert why("member.removed") == (membership.public_id, "Left")

    def test_several_at_once_are_not_removed(self, rf: RequestFactory, root: User) -> None:
        page = admin.site._registry[Membership]
        assert "delete_selected" not in page.get_actions(asked(rf, root))


class TestUserAdmin:
    def test_a_new_person_gets_what_sign_up_gives(self, rf: RequestFactory, root: User) -> None:
        values = {
            "email": "Carol@example.com",
            "password1": "a-long-enough-pass",
            "password2": "a-long-enough-pass",
            "reason": "Asked by phone",
        }
        admin.site._registry[User].changeform_view(asked(rf, root, values))
        user = User.objects.get(email="carol@example.com")
        assert Workspace.objects.filter(personal_of=user).exists()
        assert not signup.is_verified(user)
        assert why("user.added") == (user.public_id, "Asked by phone")

    def test_only_superusers_give_rights(self, rf: RequestFactory, root: User, bob: User) -> None:
        page = admin.site._registry[User]
        bob.is_staff = True
        rights = {"is_staff", "is_superuser", "groups"}
        assert rights <= set(page.get_readonly_fields(asked(rf, bob), bob))
        assert not rights & set(page.get_readonly_fields(asked(rf, root), bob))


class TestRights:
    def test_giving_them_is_written_down_with_before_and_after(
        self, rf: RequestFactory, root: User, bob: User
    ) -> None:
        group = Group.objects.get(name="support")
        values = {"name": "Bob", "language": "en", "time_zone": "UTC", "is_active": "on"}
        given = {**values, "is_staff": "on", "groups": [group.pk]}
        admin.site._registry[User].changeform_view(asked(rf, root, given), str(bob.pk))
        assert not AuditEvent.objects.filter(action="user.changed").exists(), "no reason"
        given["reason"] = "Hired"
        admin.site._registry[User].changeform_view(asked(rf, root, given), str(bob.pk))
        event = AuditEvent.objects.get(action="user.changed", target=bob.public_id)
        assert (event.user, event.workspace) == (root, None)
        assert event.before == {"name": "", "is_staff": False, "groups": [], "reason": None}
        assert event.after == {
            "name": "Bob", "is_staff": True, "groups": ["support"], "reason": "Hired",
        }  # fmt: skip

    def test_a_password_is_set_by_superusers_and_written_down(
        self, rf: RequestFactory, root: User, alice: User, bob: User
    ) -> None:
        page = admin.site._registry[User]
        fresh = "another-long-enough-pass"
        values = {"password1": fresh, "password2": fresh, "usable_password": "true"}
        bob.is_staff = True
        with pytest.raises(PermissionDenied):
            page.user_change_password(asked(rf, bob, values), str(alice.pk))  # type: ignore[attr-defined]  # Django's own
        page.user_change_password(asked(rf, root, values), str(alice.pk))  # type: ignore[attr-defined]  # Django's own
        alice.refresh_from_db()
        assert alice.check_password(fresh)
        assert AuditEvent.objects.get(action="user.password_set").user == root

    def test_staff_are_changed_by_superusers_only(
        self, rf: RequestFactory, root: User, alice: User, bob: User
    ) -> None:
        page = admin.site._registry[User]
        helper = staffing.member("helper@example.com", group="support")
        assert page.has_change_permission(asked(rf, helper), alice)
        for other in (root, staffing.member("x@example.com")):
            assert not page.has_change_permission(asked(rf, helper), other)
            assert page.has_change_permission(asked(rf, root), other)


class TestWorkspaceAdmin:
    def test_another_tier_has_its_consequences(
        self, rf: RequestFactory, root: User, home: Workspace, key: ApiKey
    ) -> None:
        high = Tier.objects.create(slug="high", name="High", default_rpm=600, max_rpm=6000)
        inline = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        values = {"name": "Home", "external_id": "", "tier": high.pk, "reason": "Grew"} | inline
        admin.site._registry[Workspace].changeform_view(asked(rf, root, values), str(home.pk))
        home.refresh_from_db()
        assert (home.tier, home.external_id) == (high, None)
        written = AuditEvent.objects.get(action="workspace.changed", workspace=None)
        assert written.before is not None
        assert written.after is not None
        assert (written.before["tier"], written.after["tier"]) == ("Default", "High")
        assert written.after["reason"] == "Grew"

    def test_no_reason_no_change(self, rf: RequestFactory, root: User, home: Workspace) -> None:
        inline = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        values = {"name": "Mine", "external_id": "x", "tier": home.tier.pk} | inline
        for reason in ("", "  ", "x" * 501):
            request = asked(rf, root, values | {"reason": reason})
            answer = admin.site._registry[Workspace].changeform_view(request, str(home.pk))
            assert answer.status_code == 200
        home.refresh_from_db()
        assert (home.name, home.external_id) != ("Mine", "x")

    def test_an_outside_id_is_kept_and_written_down(
        self, rf: RequestFactory, root: User, home: Workspace
    ) -> None:
        inline = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
        values = {"name": home.name, "external_id": "crm-7", "tier": home.tier.pk, "reason": "CRM"}
        admin.site._registry[Workspace].changeform_view(
            asked(rf, root, values | inline), str(home.pk)
        )
        home.refresh_from_db()
        assert home.external_id == "crm-7"
        assert AuditEvent.objects.filter(action="workspace.changed").count() == 1

    def test_a_personal_one_is_not_closed(
        self, rf: RequestFactory, root: User, home: Workspace
    ) -> None:
        chosen = {"action": "close", "_selected_action": [home.pk], "reason": "Asked"}
        request = asked(rf, root, chosen)
        admin.site._registry[Workspace].changelist_view(request)
        home.refresh_from_db()
        assert home.closed_at is None
        assert said(request) == ["A personal workspace is closed with its account."]
        assert not AuditEvent.objects.filter(action="workspace.closed").exists()


class TestServiceAccountAdmin:
    def test_it_makes_disables_and_enables(
        self, rf: RequestFactory, root: User, home: Workspace
    ) -> None:
        page = admin.site._registry[ServiceAccount]
        values = {"workspace": home.pk, "name": "bot", "role": "viewer", "reason": "New"}
        page.changeform_view(asked(rf, root, values))
        bot = ServiceAccount.objects.get()
        chosen = {"_selected_action": [bot.pk], "reason": "Runs wild"}
        page.changelist_view(asked(rf, root, {"action": "disable"} | chosen))
        assert ServiceAccount.objects.filter(disabled_at=None).count() == 0
        page.changelist_view(asked(rf, root, {"action": "enable"} | chosen))
        page.changeform_view(asked(rf, root, {"role": "developer", "reason": "More"}), str(bot.pk))
        bot.refresh_from_db()
        assert bot.role == "developer"
        assert bot.disabled_at is None
        assert [why(f"service_account.{done}") for done in ("created", "disabled", "enabled")] == [
            (bot.public_id, reason) for reason in ("New", "Runs wild", "Runs wild")
        ]
