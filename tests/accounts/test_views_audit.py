"""The page of the audit log."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import transaction

from accounts import audit, views_audit, workspaces
from accounts.audit import Target
from accounts.models import Membership, Tier, User, Workspace
from tests import pages

Join = Callable[[User, Workspace, str], None]


def shown(page: str) -> int:
    return page.count('data-testid="event"')


class TestAuditLog:
    def test_a_new_workspace_begins_with_its_making(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/team/audit").content.decode()

        # It breaks between its parts, not within one.
        assert "workspace.<wbr>created" in page

    def test_a_workspace_without_a_log_says_what_comes_here(self, alice: User) -> None:
        old = Workspace.objects.create(name="Older than the log", tier=Tier.objects.get())
        Membership.objects.create(workspace=old, user=alice, role="owner")

        page = pages.browser(alice, workspace=old).get("/dashboard/team/audit").content.decode()

        assert 'data-testid="no-events"' in page

    def test_a_change_is_shown_with_who_made_it(self, alice: User) -> None:
        key = pages.make_key(alice, name="Night job")

        page = pages.browser(alice).get("/dashboard/team/audit").content.decode()

        for words in ("key.<wbr>created", "Night job", key.public_id, "alice@example.com"):
            assert words in page

    def test_amounts_times_roles_and_people_are_as_people_read_them(
        self, alice: User, bob: User
    ) -> None:
        home = pages.home(alice)
        facts = {
            "asset": "USD",
            "units": "5000000000",
            "daily_usd": "1234.50",
            "expires_at": "2030-01-31T10:20:30.456789Z",
            "role": "viewer",
            "owner": alice.public_id,
            "user_id": bob.public_id,
            "ips": [],
            "rpm": 60000,
            "name": "2024",
        }
        with transaction.atomic():
            audit.record(
                action="key.changed",
                by=alice,
                target=Target(alice.public_id, "Alice"),
                workspaces=[home],
                after=facts,
            )
        User.objects.update(language="de")

        found = pages.browser(alice).get("/dashboard/team/audit?action=key.changed")
        page = found.content.decode()

        told = dict(re.findall(r'<span class="muted">(\w+):</span> ([^<]*)<', page))
        assert told == told | {
            "amount_usd": "5,00\xa0$",
            "daily_usd": "1.234,50\xa0$",
            "expires_at": "31.01.2030 10:20:30",
            "role": "Betrachter",
            "owner": "alice@example.com",
            "user_id": bob.public_id,  # a stranger's name is nobody's business
            "ips": "nicht gesetzt",
            "rpm": "60.000",
            "name": "2024",
        }

    def test_it_is_narrowed_and_paged(self, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(views_audit, "ROWS", 2)
        made = [pages.make_key(alice, name=f"key {number}") for number in range(3)]
        browser = pages.browser(alice)

        first = browser.get("/dashboard/team/audit?action=key.created").content.decode()
        link = re.search(r'href="([^"]+)" data-testid="next-page"', first)
        assert link is not None
        second = browser.get(link[1].replace("&amp;", "&")).content.decode()
        one = browser.get(f"/dashboard/team/audit?target={made[0].public_id}").content.decode()

        assert (shown(first), shown(second)) == (2, 1)
        assert "key 0" in one
        assert "key 1" not in one
        assert browser.get("/dashboard/team/audit?cursor=x").status_code == 400

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer"])
    def test_who_may_not_read_it_is_refused(
        self, alice: User, bob: User, join: Join, role: str
    ) -> None:
        place = workspaces.create(owner=alice, name="Lab")
        join(bob, place, role)

        answer = pages.browser(bob, workspace=place).get("/dashboard/team/audit")

        assert answer.status_code == 403
