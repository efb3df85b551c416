"""What somebody with bad intentions tries against the management API."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts import invitations, keys, members, workspaces
from accounts.models import ApiKey, Membership
from accounts.scopes import Role
from config import policies
from proxy import api_exportkinds
from tests import pages
from tests.accounts.races import together
from tests.api.conftest import BASE, Program, Tenant, refusal, session, told, with_key
from tests.api.entries import MANAGEMENT, PERSON, SIGNED_IN
from tests.api.test_matrix import filled

HOSTILE = [
    "' or 1=1--",
    "\u0000",
    "%",
    "_",
    "../..",
    "\ud7ff\U0001f600",
    "9" * 400,
    "-1",
    "{}",
    "[]",
]
LISTS = [path for method, path in MANAGEMENT if method == "GET" and "{" not in path]


class TestCursors:
    def test_a_cursor_of_another_tenant_shows_ones_own_rows_only(
        self, alice: Tenant, bob: Tenant
    ) -> None:
        for number in range(3):
            pages.make_key(alice.owner, alice.workspace, name=f"secret of alice {number}")
            pages.make_key(bob.owner, bob.workspace, name=f"bob {number}")
        cursor = alice.session().get("keys?limit=1")["next_cursor"]

        answered: Any = bob.session().ask("GET", f"keys?cursor={cursor}")

        assert answered.status_code == 200
        assert "alice" not in answered.content.decode()

    @pytest.mark.parametrize("limit", ["0", "-1", "101", "1e9", "", "99999999999999999999"])
    def test_a_page_has_a_size(self, alice: Tenant, limit: str) -> None:
        assert refusal(alice.session().ask("GET", f"keys?limit={limit}"))["param"] == "limit"


class TestFilters:
    @pytest.mark.parametrize("path", LISTS)
    def test_hostile_values_are_values(self, alice: Tenant, path: str) -> None:
        route = next(
            each for each in policies.routes() if each.method == "GET" and each.path == BASE + path
        )
        for name in route.operation.query().fields:
            for value in HOSTILE:
                response = alice.session().client.get(
                    BASE + path,
                    {name: value.encode("utf-8", "surrogatepass")},
                    headers={"x-workspace-id": alice.workspace.public_id},
                )
                assert response.status_code in (200, 400), (name, value, response.content)

    @pytest.mark.parametrize(
        "query",
        [
            "since=0001-01-01&until=0001-01-01",
            "since=9999-12-31&until=9999-12-31",
            "until=0001-01-01",
            "until=9999-12-31",
            "since=9999-12-01&until=9999-12-31&group_by=key",
        ],
    )
    def test_the_ends_of_the_calendar_are_days(self, alice: Tenant, query: str) -> None:
        response = alice.session().ask("GET", f"usage?{query}")

        assert response.status_code in (200, 400)


class TestWorkspaces:
    @pytest.mark.parametrize("named", ["ws_nothing", "'", "*", " ", "ws_0,ws_1", "\u00e9"])
    def test_a_name_of_nothing_opens_nothing(self, alice: Tenant, named: str) -> None:
        program = with_key(alice.secret(["keys:read"]), x_workspace_id=named)
        response = program.ask("GET", "keys")

        # An empty name is none at all: the key has one workspace.
        assert response.status_code == (200 if not named.strip() else 403)

    def test_the_address_counts_and_not_the_header(self, alice: Tenant, bob: Tenant) -> None:
        program = bob.session()
        path = f"workspaces/{alice.workspace.public_id}"

        assert program.ask("GET", path).status_code == 403
        assert program.ask("PATCH", path, {"name": "Mine"}).status_code == 403

    def test_an_external_id_of_another_opens_nothing(self, alice: Tenant, bob: Tenant) -> None:
        place = workspaces.create(owner=bob.owner, name="B", external_id="crm-1", by=bob.owner)
        program = with_key(alice.secret(["keys:read"]), x_workspace_id="crm-1")

        assert place.external_id == "crm-1"
        assert program.ask("GET", "keys").status_code == 403
        assert session(alice.owner, place).ask("GET", "keys").status_code == 403

    def test_a_closed_one_is_closed_to_keys_and_people(self, alice: Tenant) -> None:
        program, insider = alice.program(), alice.session()
        workspaces.close(workspace=alice.workspace, by=alice.owner)

        for (method, path), entry in MANAGEMENT.items():
            if "{" not in path and path != "workspaces" and entry[0] not in (SIGNED_IN, PERSON):
                for each in (program, insider):
                    response = each.ask(method, path)
                    assert response.status_code == 403, (method, path, response.content)


class TestUsageOfWorkspaces:
    def read(self, program: Program) -> set[str]:
        return {row["workspace_id"] for row in program.get("usage?group_by=workspace")["data"]}

    def second(self, alice: Tenant) -> Any:
        place = workspaces.create(owner=alice.owner, name="Second", by=alice.owner)
        pages.closed_request(pages.make_key(alice.owner, place), place)
        return place

    def test_a_person_sees_all_that_are_theirs(self, alice: Tenant, bob: Tenant) -> None:
        second = self.second(alice)
        both = {alice.workspace.public_id, second.public_id}

        assert self.read(alice.session()) == both
        assert self.read(bob.session()) == {bob.workspace.public_id}

    def test_a_key_sees_those_it_carries(self, alice: Tenant) -> None:
        second = self.second(alice)
        third = workspaces.create(owner=alice.owner, name="Third", by=alice.owner)
        pages.closed_request(pages.make_key(alice.owner, third), third)
        _, secret = keys.create(
            name="two",
            workspaces=[alice.workspace, second],
            by=alice.owner,
            user=alice.owner,
            scopes=["usage:read"],
        )
        program = with_key(secret, x_workspace_id=second.public_id)

        assert self.read(program) == {alice.workspace.public_id, second.public_id}
        assert [row["workspace_id"] for row in program.get("usage?group_by=day")["data"]] == [None]

    def test_an_export_is_of_its_workspace(self, alice: Tenant) -> None:
        self.second(alice)
        body = {"kind": "usage", "filter": {"group_by": "workspace"}}
        made = alice.session().post("exports", body)
        api_exportkinds.build(public_id=made["id"])
        response: Any = alice.session().ask("GET", f"exports/{made['id']}/file")
        rows = csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode()))

        assert {row["workspace_id"] for row in rows} == {alice.workspace.public_id}


class TestRoles:
    @pytest.mark.parametrize("role", [Role.VIEWER, Role.BILLING, Role.DEVELOPER])
    def test_the_lower_ones_manage_nobody(self, alice: Tenant, role: Role) -> None:
        user = pages.person(f"a-{role}")
        mine = members.add(workspace=alice.workspace, user=user, role=role, by=None)
        program, ids = session(user, alice.workspace), alice.addresses()
        for method, path, body in (
            ("PATCH", f"members/{mine.public_id}", {"role": "owner"}),
            ("POST", "invitations", {"email": "x@y.io", "role": "viewer"}),
            ("POST", f"invitations/{ids['invitation_id']}/resend", {}),
            ("POST", "service-accounts", {"name": "x", "role": "viewer"}),
            ("PATCH", f"workspaces/{ids['workspace_id']}", {"name": "x"}),
            ("POST", f"workspaces/{ids['workspace_id']}/close", {}),
            ("POST", "keys", {"name": "x", "scopes": ["keys:manage"]}),
        ):
            response = program.ask(method, path, body)
            assert response.status_code == 403, (role, method, path, response.content)
        response = program.ask("PATCH", f"keys/{ids['key_id']}", {"rpm": 1})
        assert response.status_code in (403, 404)

    def test_an_admin_makes_nobody_an_owner(self, alice: Tenant) -> None:
        user = pages.person("adam")
        mine = members.add(workspace=alice.workspace, user=user, role=Role.ADMIN, by=None)
        program = session(user, alice.workspace)

        for path in (mine.public_id, alice.member.public_id):
            response = program.ask("PATCH", f"members/{path}", {"role": "owner"})
            assert response.status_code == 403
        body = {"email": "o@example.com", "role": "owner"}
        assert program.ask("POST", "invitations", body).status_code == 403

    def test_who_was_removed_is_out_at_once(self, alice: Tenant) -> None:
        user = pages.person("leaver")
        seat = members.add(workspace=alice.workspace, user=user, role=Role.ADMIN, by=None)
        insider = session(user, alice.workspace)
        _, secret = keys.create(
            name="k", workspaces=[alice.workspace], by=user, user=user, scopes=["keys:read"]
        )
        program = with_key(secret)
        assert told(program.ask("GET", "keys"))
        assert told(insider.ask("GET", "keys"))

        alice.session().ask("DELETE", f"members/{seat.public_id}")

        assert program.ask("GET", "keys").status_code == 403
        assert insider.ask("GET", "keys").status_code == 403


class TestMethods:
    @pytest.mark.parametrize(
        "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"]
    )
    def test_no_header_changes_the_method(self, alice: Tenant, header: str) -> None:
        program = alice.session()
        response = program.ask(
            "GET", f"keys/{alice.key.public_id}", None, **{header.replace("-", "_"): "DELETE"}
        )

        assert response.status_code == 200
        assert not ApiKey.objects.get(pk=alice.key.pk).deleted_at
        form = f"keys/{alice.key.public_id}?_method=DELETE"
        assert program.ask("POST", form).status_code == 405

    @pytest.mark.parametrize("path", LISTS)
    def test_every_list_answers_head_and_no_options(self, alice: Tenant, path: str) -> None:
        head = alice.session().ask("HEAD", path)
        options = alice.session().ask("OPTIONS", path)

        assert (head.status_code, head.content) == (200, b"")
        assert options.status_code == 405

    def test_a_slash_at_the_end_is_another_address(self, alice: Tenant) -> None:
        for method, path in MANAGEMENT:
            response = alice.session().ask(method, f"{filled(path, alice.addresses())}/")
            assert response.status_code == 404, (method, path)


class TestCsv:
    @pytest.mark.parametrize(
        "name", ["=1+1", "+1+1", "-1+cmd|x", "@sum", "\t=1", "\r=1", "=cmd|'x'!A1"]
    )
    def test_no_cell_is_a_formula(self, alice: Tenant, name: str) -> None:
        ApiKey.objects.filter(pk=alice.key.pk).update(name=name)
        response: Any = alice.session().ask("GET", "keys?format=csv")
        text = b"".join(response.streaming_content).decode()

        assert [row["name"] for row in csv.DictReader(io.StringIO(text))] == [f"'{name}"]


class TestResend:
    def test_the_link_before_is_dead_and_the_new_one_works(
        self, alice: Tenant, django_capture_on_commit_callbacks: Any
    ) -> None:
        friend = pages.person("alice-friend")
        path = f"invitations/{alice.invitation.public_id}"
        links = []
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                alice.session().post(f"{path}/resend")
            links.append(str(mail.outbox[-1].body).split("/invitations/")[1].split()[0])
        hers = session(friend, pages.home(friend))

        assert hers.ask("POST", "invitations/accept", {"token": links[0]}).status_code == 404
        assert hers.post("invitations/accept", {"token": links[1]})["role"] == "viewer"
        assert alice.session().ask("POST", f"{path}/resend").status_code == 404

    def test_one_whose_time_is_over_is_good_again(self, alice: Tenant) -> None:
        alice.invitation.expires_at = timezone.now() - timedelta(days=1)
        alice.invitation.save()

        made = invitations.resend(invitation=alice.invitation, by=alice.owner)

        assert made.expires_at > timezone.now() + timedelta(days=6)


@pytest.mark.django_db(transaction=True)
class TestTwoAtOnce:
    def ask(self, count: int, method: str, path: str, body: Any = None) -> list[Any]:
        alice = pages.person("alice")
        home = workspaces.create(owner=alice, name="Here", by=alice)
        key = pages.make_key(alice, home)
        answers: list[Any] = []
        target = path.format(key=key.public_id)

        def one() -> None:
            answers.append(session(alice, home).ask(method, target, body))

        together(*([one] * count))
        assert all(answer.status_code < 500 for answer in answers), [a.content for a in answers]
        return answers

    def test_a_key_is_rotated_by_each_and_lives_on_for_the_overlap_only(self) -> None:
        answers = self.ask(3, "POST", "keys/{key}/rotate", {"overlap_hours": 0})

        assert sorted(answer.status_code for answer in answers) == [201, 400, 400]

    def test_a_version_is_changed_once(self) -> None:
        alice = pages.person("alice")
        home = pages.home(alice)
        key = pages.make_key(alice, home)
        path = f"keys/{key.public_id}"
        seen = session(alice, home).get(path)["version"]
        answers: list[Any] = []

        def change(name: str) -> None:
            body = {"name": name, "version": seen}
            answers.append(session(alice, home).ask("PATCH", path, body))

        together(lambda: change("one"), lambda: change("two"), lambda: change("three"))

        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]

    def test_an_address_is_invited_once(self) -> None:
        body = {"email": "friend@example.com", "role": "viewer"}
        self.ask(3, "POST", "invitations", body)
        place = Membership.objects.get(workspace__name="Here").workspace

        assert invitations.pending(workspace=place).count() == 1


def test_a_body_says_no_field_twice_in_two_ways(alice: Tenant) -> None:
    client: Client = alice.session().client
    text = '{"name": "x", "scopes": ["chat"], "name": "y"}'
    response = client.post(
        f"{BASE}keys",
        text,
        content_type="application/json",
        headers={"x-workspace-id": alice.workspace.public_id},
    )

    assert json.loads(response.content)["name"] == "y"
