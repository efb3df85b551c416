"""The audit log: every change is in it, nothing is ever taken out of it."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import DatabaseError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit, keys, workspaces
from accounts.api_audit import narrowed
from accounts.models import AuditEvent
from billing.models_tokens import TokenPackage
from common import pagination
from common.pagination import Wanted
from config import policies
from tests import pages
from tests.api.conftest import Program, Tenant, another_session, with_key
from tests.api.entries import MANAGEMENT


def actions(tenant: Tenant) -> list[str]:
    """What was done in a workspace, the newest first."""
    return list(audit.events(workspace=tenant.workspace).values_list("action", flat=True))


def run(statement: str) -> None:
    """Say something to the database; what was deferred is done before."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute(statement)


class TestTheTable:
    @pytest.mark.parametrize(
        "statement",
        [
            "update accounts_auditevent set action = 'x'",
            "delete from accounts_auditevent",
            "truncate accounts_auditevent",
        ],
    )
    def test_refuses_every_change(self, alice: Tenant, statement: str) -> None:
        with pytest.raises((DatabaseError, IntegrityError), match="append-only"):
            run(statement)

        assert actions(alice)


class TestRecord:
    @pytest.mark.django_db(transaction=True)
    def test_is_written_inside_a_transaction_only(self) -> None:
        with pytest.raises(RuntimeError, match="transaction"):
            audit.record(action="x", by=None, target=audit.Target("x", "x"), workspaces=[])

    def test_a_change_that_is_undone_leaves_no_event(self, alice: Tenant) -> None:
        before = actions(alice)
        with transaction.atomic():
            keys.disable(key=alice.key, by=alice.owner)
            transaction.set_rollback(True)

        assert actions(alice) == before

    def test_a_change_that_changes_nothing_is_no_event(self, alice: Tenant) -> None:
        before = actions(alice)
        alice.session().patch(f"keys/{alice.key.public_id}", {"name": alice.key.name})

        assert actions(alice) == before

    def test_an_operator_and_staff_are_told_apart(self, alice: Tenant) -> None:
        keys.disable(key=alice.key, by=None)

        assert AuditEvent.objects.latest("id").actor == "operator"


def change_everything(program: Program, alice: Tenant) -> dict[tuple[str, str], str]:
    """One change through every endpoint that makes one, with the action it is written down as."""
    key, account = alice.key.public_id, alice.service_account.public_id
    made: dict[tuple[str, str], str] = {}

    def do(method: str, path: str, action: str, body: object = None, **ids: str) -> dict[str, str]:
        before = set(AuditEvent.objects.values_list("pk", flat=True))
        response = program.ask(method, path.format(**ids), body)
        assert response.status_code < 300, (method, path, response.content)
        new = AuditEvent.objects.exclude(pk__in=before).values_list("action", flat=True)
        assert action in set(new), (method, path, list(new))
        made[method, path] = action
        found: dict[str, str] = json.loads(response.content) if response.content else {}
        return found

    do("PATCH", "keys/{key_id}", "key.updated", {"rpm": 7}, key_id=key)
    do("POST", "keys/{key_id}/disable", "key.disabled", key_id=key)
    do("POST", "keys/{key_id}/enable", "key.enabled", key_id=key)
    do("POST", "keys/{key_id}/rotate", "key.rotated", key_id=key)
    do("DELETE", "keys/{key_id}", "key.deleted", key_id=key)
    do("POST", "keys", "key.created", {"name": "n", "scopes": ["chat"]})
    member = alice.member.public_id
    do("PATCH", "members/{member_id}", "member.role_changed", {"role": "admin"}, member_id=member)
    do("DELETE", "members/{member_id}", "member.removed", member_id=member)
    invited = do("POST", "invitations", "invitation.created", {"email": "x@y.io", "role": "viewer"})
    path = "invitations/{invitation_id}"
    do("POST", f"{path}/resend", "invitation.resent", invitation_id=invited["id"])
    do("DELETE", path, "invitation.revoked", invitation_id=invited["id"])
    robot = {"name": "second", "role": "viewer"}
    do("POST", "service-accounts", "service_account.created", robot)
    for path, action, body in (
        ("service-accounts/{service_account_id}/disable", "service_account.disabled", None),
        ("service-accounts/{service_account_id}/enable", "service_account.enabled", None),
    ):
        do("POST", path, action, body, service_account_id=account)
    do(
        "PATCH",
        "service-accounts/{service_account_id}",
        "service_account.role_changed",
        {"role": "viewer"},
        service_account_id=account,
    )
    do("PATCH", "limits", "limits.changed", {"daily_usd": "1"})
    do("POST", "token-purchases", "tokens.bought", {"package": "small"})
    built = do("POST", "exports", "export.created", {"kind": "logs"})
    do("DELETE", "exports/{export_id}", "export.deleted", export_id=built["id"])
    hook = {"url": "https://hooks.example.com/in", "events": ["key.created"]}
    told = do("POST", "webhooks", "webhook.created", hook)["id"]
    path = "webhooks/{webhook_id}"
    do("PATCH", path, "webhook.updated", {"enabled": False}, webhook_id=told)
    do("POST", f"{path}/rotate-secret", "webhook.secret_rotated", webhook_id=told)
    do("DELETE", path, "webhook.deleted", webhook_id=told)
    do("PATCH", "alerts", "alerts.changed", {"low_balance_usd": "7"})
    do("PATCH", "me", "user.profile_changed", {"name": "Alice A."})
    for path in ("me/sessions/{session_id}", "me/sessions"):
        there = another_session(alice.owner)
        do("DELETE", path, "user.session_ended", session_id=str(there.pk))
    place = alice.workspace.public_id
    do("PATCH", "workspaces/{workspace_id}", "workspace.renamed", {"name": "N"}, workspace_id=place)
    path, kept = "workspaces/{workspace_id}/prompt-logging", {"enabled": True}
    do("PATCH", path, "workspace.prompt_logging_changed", kept, workspace_id=place)
    other = do("POST", "workspaces", "workspace.created", {"name": "Other"})
    do("POST", "workspaces/{workspace_id}/close", "workspace.closed", workspace_id=other["id"])
    return made


class TestEveryChange:
    def test_is_written_down(self, alice: Tenant) -> None:

        TokenPackage.objects.create(slug="small", name="Small", tokens=10, price_nanos=10**6)
        made = change_everything(alice.session(), alice)

        changing = {each for each in MANAGEMENT if each[0] != "GET"}
        # The first two are for somebody else than the owner: tests of their own below. Payments
        # have a processor or a chain, and their tests with it. The last two change nothing: a
        # webhook's own log has what was sent to it.
        others = {
            ("POST", "invitations/accept"),
            ("POST", "workspaces/{workspace_id}/leave"),
            ("POST", "top-ups"),
            ("POST", "top-ups/{top_up_id}/refunds"),
            ("PUT", "auto-top-up"),
            ("POST", "cards"),
            ("DELETE", "cards/{card_id}"),
            ("POST", "billing-portal"),
            ("PATCH", "crypto"),
            ("POST", "crypto/address"),
            ("POST", "crypto/conversions"),
            ("POST", "webhooks/{webhook_id}/test"),
            ("POST", "webhooks/{webhook_id}/deliveries/{delivery_id}/resend"),
        }
        assert set(made) == changing - others
        assert len(changing) == len([r for r in policies.routes() if r.method != "GET"])

    def test_says_who_where_from_and_by_which_request(self, alice: Tenant) -> None:
        secret = alice.secret(["keys:manage", "keys:read", "audit:read"])
        response = with_key(secret).ask("POST", f"keys/{alice.key.public_id}/disable")
        event = with_key(secret).get("audit-events?limit=1")["data"][0]

        assert event["action"] == "key.disabled"
        assert event["actor"]["kind"] == "key"
        assert event["actor"]["email"] == alice.owner.email
        assert event["request_id"] == response["x-request-id"]
        assert event["address"] == "127.0.0.1"
        assert event["before"] == {"disabled_at": None}
        assert event["after"]["disabled_at"].endswith("Z")

    def test_holds_no_secret(self, alice: Tenant) -> None:
        made = alice.session().post("keys", {"name": "n", "scopes": ["chat"]})
        rotated = alice.session().post(f"keys/{made['id']}/rotate")
        log = json.dumps(alice.session().get("audit-events?limit=100"))

        assert made["key"] not in log
        assert rotated["key"] not in log

    def test_of_a_key_in_two_workspaces_is_told_to_both_and_of_neither(self, alice: Tenant) -> None:
        other = workspaces.create(owner=alice.owner, name="Other", by=alice.owner)
        key = pages.make_key(alice.owner, alice.workspace, other, name="both")
        keys.disable(key=key, by=alice.owner)
        events = AuditEvent.objects.filter(target=key.public_id, action="key.disabled")

        assert {event.workspace_id for event in events} == {alice.workspace.pk, other.pk}
        assert "workspaces" not in json.dumps([event.after for event in events])


def at_times(tenant: Tenant, *hours: int) -> list[str]:
    """Events of those hours ago, written in this order, as a long transaction's come late."""
    now = timezone.now()
    return [
        AuditEvent.objects.create(
            workspace=tenant.workspace,
            action="x.changed",
            target="x_1",
            actor="operator",
            at=now - timedelta(hours=each),
        ).public_id
        for each in hours
    ]


class TestPages:
    @pytest.mark.parametrize("narrow", ["", "&target=x_1"])
    def test_are_by_time_and_hold_every_event_once(self, alice: Tenant, narrow: str) -> None:
        made = at_times(alice, 3, 1, 2, 2, 2)
        program, found, cursor = alice.program("audit:read"), [], ""
        while True:
            page = program.get(f"audit-events?action=x.changed&limit=2{narrow}{cursor}")
            found += [row["id"] for row in page["data"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
            # What comes meanwhile is newer, and shifts nothing.
            at_times(alice, 0)

        assert found == [made[at] for at in (1, 4, 3, 2, 0)]

    def test_are_of_the_time_that_is_asked_for(self, alice: Tenant) -> None:
        made = at_times(alice, 30, 20, 10)
        ends = [timezone.now() - timedelta(hours=each) for each in (25, 15)]
        since, until = (f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in ends)

        def shown(query: str) -> list[str]:
            rows = alice.session().get(f"audit-events?action=x.changed&{query}")["data"]
            return [row["id"] for row in rows]

        assert shown(f"until={until}") == [made[1], made[0]]
        assert shown(f"since={since}&until={until}") == [made[1]]

    def test_of_long_ago_are_entered_by_the_index(self, alice: Tenant) -> None:
        """What lies between now and the end that is asked for is not read."""
        found = narrowed(audit.events(workspace=alice.workspace), {"until": timezone.now()})
        after = [timezone.now().isoformat(), 1]
        for wanted in (Wanted(limit=20), Wanted(limit=20, after=after)):
            with connection.cursor() as cursor, CaptureQueriesContext(connection) as asked:
                pagination.by_time(found, wanted)
                cursor.execute("set local enable_seqscan = off; set local enable_sort = off")
                cursor.execute(f"explain (costs off) {asked.captured_queries[0]['sql']}")
                plan = "\n".join(row[0] for row in cursor.fetchall())
            [condition] = re.findall(r"Index Cond: (.*)", plan.partition("auditevent_page")[2])[:1]
            assert "at <" in condition, plan

    def test_a_file_that_was_begun_by_ids_goes_on(self, alice: Tenant) -> None:
        made = at_times(alice, 3, 2, 1)
        third = AuditEvent.objects.get(public_id=made[2]).pk

        found = narrowed(audit.events(workspace=alice.workspace), {"action": "x.changed"})
        rows, _ = pagination.by_time(found, Wanted(limit=2, after=third))

        assert [row.public_id for row in rows] == [made[1], made[0]]


class TestInvitations:
    def test_whoever_is_invited_joins_and_leaves(
        self,
        alice: Tenant,
        mailoutbox: list[object],
        django_capture_on_commit_callbacks: object,
    ) -> None:
        carol = pages.person("carol")
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            alice.session().post("invitations", {"email": carol.email, "role": "developer"})
        link = str(mailoutbox[-1].body).split("/invitations/")[1].split()[0]  # type: ignore[attr-defined]
        hers = Program(pages.browser(carol))

        joined = hers.post("invitations/accept", {"token": link})
        assert joined["role"] == "developer"
        assert actions(alice)[:2] == ["invitation.accepted", "member.added"]
        assert hers.ask("POST", "invitations/accept", {"token": link}).status_code == 404
        left = hers.ask("POST", f"workspaces/{alice.workspace.public_id}/leave")
        assert left.status_code == 204
        assert actions(alice)[0] == "member.left"

    def test_a_link_is_for_one_address_only(
        self,
        alice: Tenant,
        bob: Tenant,
        mailoutbox: list[object],
        django_capture_on_commit_callbacks: object,
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            alice.session().post("invitations", {"email": "dora@example.com", "role": "admin"})
        link = str(mailoutbox[-1].body).split("/invitations/")[1].split()[0]  # type: ignore[attr-defined]

        response = bob.session().ask("POST", "invitations/accept", {"token": link})

        assert response.status_code == 403
        page = pages.browser(bob.owner).get(f"/invitations/{link}")
        assert page.status_code == 200
        assert page["Referrer-Policy"] == "same-origin"
        assert pages.browser(bob.owner).post(f"/invitations/{link}").status_code == 403
