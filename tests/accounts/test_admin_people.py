from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts import signup
from accounts.models import AuditEvent, User, Workspace
from tests import staffing
from tests.accounts.adminsite import asked, said, why


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

    def test_staff_are_changed_by_superusers_only(
        self, rf: RequestFactory, root: User, alice: User, bob: User
    ) -> None:
        page = admin.site._registry[User]
        helper = staffing.member("helper@example.com", group="support")
        assert page.has_change_permission(asked(rf, helper), alice)
        for other in (root, staffing.member("x@example.com")):
            assert not page.has_change_permission(asked(rf, helper), other)
            assert page.has_change_permission(asked(rf, root), other)


FRESH = "another-long-enough-pass"
BOTH = {"password1": FRESH, "password2": FRESH, "usable_password": "true"}
REASON = {"reason": "Lost their mailbox"}


def set_password(request: HttpRequest, user: User) -> HttpResponse:
    page: Any = admin.site._registry[User]
    answer: HttpResponse = page.user_change_password(request, str(user.pk))
    user.refresh_from_db()
    return answer


class TestPassword:
    def test_it_is_set_by_superusers_for_a_reason(
        self, rf: RequestFactory, root: User, alice: User, home: Workspace
    ) -> None:
        answer: Any = set_password(asked(rf, root, BOTH), alice)
        assert not alice.check_password(FRESH)
        assert list(answer.context_data["form"].errors) == ["reason"]
        assert 'name="reason"' in answer.render().content.decode()
        set_password(asked(rf, root, BOTH | REASON), alice)
        assert alice.check_password(FRESH)
        assert why("user.password_set") == (alice.public_id, "Lost their mailbox")
        for_her = AuditEvent.objects.get(action="user.password_set", workspace=home)
        assert (for_her.user, for_her.after) == (root, {})

    def test_nobody_else_sets_it(self, rf: RequestFactory, alice: User, bob: User) -> None:
        bob.is_staff = True
        with pytest.raises(PermissionDenied):
            set_password(asked(rf, bob, BOTH | REASON), alice)

    def test_whoever_has_no_workspace_is_told_of_to_staff_once(
        self, rf: RequestFactory, root: User
    ) -> None:
        other = staffing.member("other@example.com")
        set_password(asked(rf, root, BOTH | REASON), other)
        assert why("user.password_set") == (other.public_id, "Lost their mailbox")
        assert AuditEvent.objects.filter(action="user.password_set").count() == 1

    def test_taking_it_away_is_told_apart(
        self, rf: RequestFactory, root: User, alice: User
    ) -> None:
        values = {"usable_password": "false", "unset-password": "1"} | REASON
        set_password(asked(rf, root, values), alice)
        assert not alice.has_usable_password()
        assert why("user.password_removed") == (alice.public_id, "Lost their mailbox")

    def test_two_buttons_that_disagree_change_and_write_nothing(
        self, rf: RequestFactory, root: User, alice: User
    ) -> None:
        values = {"usable_password": "false", "set-password": "1"} | REASON
        request = asked(rf, root, values)
        assert set_password(request, alice).status_code == 302
        assert said(request) == ["Conflicting form data submitted. Please try again."]
        assert alice.has_usable_password()
        assert not AuditEvent.objects.filter(action__startswith="user.password").exists()


class TestGroupAdmin:
    def test_a_change_is_written_down_with_its_reason(self, rf: RequestFactory, root: User) -> None:
        page = admin.site._registry[Group]
        right = Permission.objects.get(codename="view_tier")
        page.changeform_view(asked(rf, root, {"name": "auditors"}))
        assert not Group.objects.filter(name="auditors").exists(), "no reason"
        values = {"name": "auditors", "permissions": [right.pk], "reason": "For the audit"}
        page.changeform_view(asked(rf, root, values))
        group = Group.objects.get(name="auditors")
        page.changeform_view(asked(rf, root, {"name": "auditors"}), str(group.pk))
        assert list(group.permissions.all()) == [right], "no reason"
        values = {"name": "auditors", "reason": "It is over"}
        page.changeform_view(asked(rf, root, values), str(group.pk))
        assert why("group.added") == (f"group {group.pk}", "For the audit")
        event = AuditEvent.objects.get(action="group.changed", user=root)
        assert event.before == {"permissions": ["accounts.view_tier"], "reason": None}
        assert event.after == {"permissions": [], "reason": "It is over"}

    def test_a_removal_says_whose_rights_went(
        self, rf: RequestFactory, root: User, bob: User
    ) -> None:
        page = admin.site._registry[Group]
        group = Group.objects.create(name="auditors")
        bob.groups.add(group)
        request = asked(rf, root, {"post": "yes"})
        page.delete_view(request, str(group.pk))
        assert said(request) == ["Nothing was changed: say why, in 3 to 500 characters."]
        page.delete_view(asked(rf, root, {"post": "yes"} | REASON), str(group.pk))
        assert not Group.objects.filter(name="auditors").exists()
        event = AuditEvent.objects.get(action="group.removed", user=root)
        assert event.before is not None
        assert (event.before["name"], event.before["members"]) == ("auditors", [bob.email])
        assert why("group.removed")[1] == "Lost their mailbox"

    def test_several_at_once_are_not_removed(self, rf: RequestFactory, root: User) -> None:
        page = admin.site._registry[Group]
        assert "delete_selected" not in page.get_actions(asked(rf, root))
