from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory

from accounts import keys
from accounts.models import ApiKey, User
from tests.accounts.adminsite import asked, said, why


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
        request = asked(rf, root, values)
        admin.site._registry[ApiKey].changelist_view(request)
        assert said(request) == [f"Disabled: {key.name} ({key.hint})."]
        key.refresh_from_db()
        assert key.disabled_at is not None
        assert key.disabled_by_staff
        assert why("key.disabled") == (key.public_id, "Leaked")

    def test_staff_lets_it_work_again(
        self, rf: RequestFactory, root: User, alice: User, key: ApiKey
    ) -> None:
        own, _ = keys.create(
            name="own", workspaces=list(key.workspaces.all()), user=alice, scopes=["chat"], by=alice
        )
        keys.disable(key=own, by=alice)
        page, chosen = admin.site._registry[ApiKey], {"_selected_action": [key.pk, own.pk]}
        page.changelist_view(
            asked(rf, root, {"action": "disable", "_selected_action": [key.pk], "reason": "Leaked"})
        )
        request = asked(rf, root, chosen | {"action": "enable", "reason": "It was another"})
        page.changelist_view(request)
        assert said(request) == [f"Enabled: {key.name} ({key.hint})."]
        key.refresh_from_db()
        own.refresh_from_db()
        assert (key.disabled_at, key.disabled_by_staff) == (None, False)
        assert own.disabled_at is not None, "its owner stopped it"
        assert why("key.enabled") == (key.public_id, "It was another")

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
        actions = admin.site._registry[ApiKey].get_actions(asked(rf, bob))
        assert not {"disable", "enable"} & set(actions)
