from __future__ import annotations

from django.contrib import admin
from django.test import RequestFactory

from accounts.models import ServiceAccount, User, Workspace
from tests.accounts.adminsite import asked, said, why


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
        request = asked(rf, root, {"action": "enable"} | chosen)
        page.changelist_view(request)
        assert said(request) == ["Enabled: bot."]
        page.changeform_view(asked(rf, root, {"role": "developer", "reason": "More"}), str(bot.pk))
        bot.refresh_from_db()
        assert bot.role == "developer"
        assert bot.disabled_at is None
        assert [why(f"service_account.{done}") for done in ("created", "disabled", "enabled")] == [
            (bot.public_id, reason) for reason in ("New", "Runs wild", "Runs wild")
        ]
