from __future__ import annotations

from django.contrib import admin
from django.test import RequestFactory

from accounts import keys, members
from accounts.models import ApiKey, AuditEvent, Membership, Tier, User, Workspace
from tests.accounts.adminsite import asked, said, why


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
