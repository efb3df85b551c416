"""What holds for every endpoint: who is let in, errors, pages, versions, requests made once."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import Any

import pytest
from django.test import Client

from accounts import keys, workspaces
from accounts.actors import Staff
from accounts.models import ApiKey, KeptAnswer
from config import policies, startup
from tests import pages
from tests.accounts.races import together
from tests.api.conftest import BASE, Program, Tenant, refusal, session, told, with_key
from tests.api.test_matrix import address


class TestAdmission:
    def test_a_key_is_taken_in_either_header(self, alice: Tenant) -> None:
        secret = alice.secret(["keys:read"])
        either = Program(Client(), {"X-API-Key": secret})

        assert either.get("me")["kind"] == "key"
        assert with_key(secret).get("me") == either.get("me")

    def test_two_different_keys_are_refused(self, alice: Tenant) -> None:
        response = alice.program().ask("GET", "me", None, X_API_Key="other")

        assert refusal(response)["reason"] == "invalid_parameter"

    @pytest.mark.parametrize("change", ["disable", "delete"])
    def test_a_key_that_was_stopped_is_refused_at_once(self, alice: Tenant, change: str) -> None:
        secret = alice.secret(["keys:read"])
        program = with_key(secret)
        assert program.get("me")
        record = keys.find(text=secret)
        assert record is not None

        getattr(keys, change)(key=ApiKey.objects.get(pk=record.id), by=None)

        assert program.ask("GET", "me").status_code == 401

    def test_what_staff_disabled_no_caller_enables_or_rotates(self, alice: Tenant) -> None:
        path = f"keys/{alice.key.public_id}"
        keys.disable(key=alice.key, by=Staff(pages.person("staff")))
        for program in (alice.session(), alice.program()):
            assert program.get(path)["status"] == "disabled"
            for act in ("enable", "rotate"):
                error = refusal(program.ask("POST", f"{path}/{act}"))
                assert (error["code"], error["reason"]) == (403, "scope_missing")
                assert error["message"] == "The operator disabled this key. Ask them to enable it."
        assert alice.session().get(path)["status"] == "disabled"

    def test_a_key_with_several_workspaces_names_one(self, alice: Tenant) -> None:
        home = pages.home(alice.owner)
        _, secret = keys.create(
            name="both",
            workspaces=[alice.workspace, home],
            by=alice.owner,
            user=alice.owner,
            scopes=["keys:read"],
        )
        assert refusal(with_key(secret).ask("GET", "keys"))["reason"] == "workspace_required"
        assert with_key(secret, x_workspace_id=home.public_id).get("keys")["data"]

    def test_a_key_counts_and_the_cookie_beside_it_does_not(self, alice: Tenant) -> None:
        signed_in = alice.session()
        signed_in.headers["Authorization"] = "Bearer junk"

        assert signed_in.ask("GET", "me").status_code == 401

    def test_a_session_without_its_token_changes_nothing(self, alice: Tenant) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(alice.owner)
        program = Program(client, {"x-workspace-id": alice.workspace.public_id})

        error = refusal(program.ask("POST", "keys", {"name": "x", "scopes": ["chat"]}))

        assert "CSRF" in error["message"]
        assert program.get("keys")["data"]

    def test_somebody_unverified_may_look_and_make_no_key(self, db: None) -> None:
        carol = pages.person("carol", verified=False)
        program = session(carol, pages.home(carol))

        assert program.get("keys") == {"data": [], "has_more": False, "next_cursor": None}
        assert program.ask("POST", "keys", {"name": "x", "scopes": ["chat"]}).status_code == 403


class TestErrors:
    def test_an_unknown_address_is_a_json_404_without_a_redirect(self, db: None) -> None:
        for path in ("nothing", "keys/", "keys/x/y", ""):
            response = Program(Client()).ask("GET", f"{BASE}{path}")
            assert refusal(response)["reason"] == "not_found"

    def test_another_method_is_a_405(self, alice: Tenant) -> None:
        response = alice.program().ask("PUT", "keys", {})

        assert (response.status_code, refusal(response)["reason"]) == (405, "unsupported_endpoint")

    @pytest.mark.parametrize("body", ["{", "[]", "[" * 5000, '{"name": "\\ud800"}', "\xff"])
    def test_a_body_that_is_no_json_object_is_a_400(self, alice: Tenant, body: str) -> None:
        response: Any = alice.session().client.post(
            f"{BASE}keys", body.encode("latin-1"), content_type="application/json"
        )

        assert refusal(response)["reason"] == "invalid_json"

    def test_a_body_of_another_kind_is_a_415(self, alice: Tenant) -> None:
        response: Any = alice.session().client.post(f"{BASE}keys", {"name": "x"})

        assert response.status_code == 415

    def test_a_body_that_is_too_large_is_a_413(self, alice: Tenant) -> None:
        response = alice.session().ask("POST", "keys", {"name": "x" * 1024 * 1024})

        assert response.status_code == 413

    def test_every_field_that_is_wrong_is_named(self, alice: Tenant) -> None:
        body = {"name": "", "scopes": ["chat", "fly"], "rpm": -1, "colour": "red"}

        error = refusal(alice.session().ask("POST", "keys", body))

        assert set(error["fields"]) == {"name", "scopes.1", "rpm", "colour"}
        assert error["param"] == next(iter(error["fields"]))

    def test_a_nul_byte_in_an_address_is_a_404(self, alice: Tenant) -> None:
        assert alice.session().ask("GET", "keys/%00").status_code == 404


class TestPages:
    def test_pages_hold_every_row_once(self, alice: Tenant) -> None:
        for number in range(7):
            pages.make_key(alice.owner, alice.workspace, name=f"key {number}")
        program, found, cursor = alice.session(), [], ""
        while True:
            page = program.get(f"keys?limit=3{cursor}")
            found += [row["name"] for row in page["data"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"

        assert found == [*(f"key {number}" for number in range(6, -1, -1)), "alice's key"]

    @pytest.mark.parametrize("cursor", ["x", "a2s6", "%F0%9F%98%80"])
    def test_a_cursor_that_is_none_is_refused(self, alice: Tenant, cursor: str) -> None:
        assert refusal(alice.session().ask("GET", f"keys?cursor={cursor}"))["param"] == "cursor"

    def test_a_cursor_of_another_list_is_refused(self, alice: Tenant) -> None:
        pages.make_key(alice.owner, alice.workspace)
        cursor = alice.session().get("keys?limit=1")["next_cursor"]

        error = refusal(alice.session().ask("GET", f"audit-events?cursor={cursor}"))

        assert "another list" in error["message"]

    def test_csv_has_all_rows_and_no_formulas(self, alice: Tenant) -> None:
        pages.make_key(alice.owner, alice.workspace, name='=HYPERLINK("x")')
        response: Any = alice.session().ask("GET", "keys?format=csv&limit=1")
        rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))

        assert response["content-type"] == "text/csv; charset=utf-8"
        assert [row["name"] for row in rows] == ['\'=HYPERLINK("x")', "alice's key"]
        assert rows[1]["owner.kind"] == "user"


class TestVersions:
    def test_a_change_to_what_changed_meanwhile_is_a_409(self, alice: Tenant) -> None:
        path = f"keys/{alice.key.public_id}"
        seen = alice.session().get(path)["version"]
        alice.session().patch(path, {"name": "first", "version": seen})

        error = refusal(alice.session().ask("PATCH", path, {"name": "second", "version": seen}))

        assert (error["reason"], error["param"]) == ("version_conflict", "version")
        assert alice.session().get(path)["name"] == "first"

    def test_it_may_stand_in_if_match(self, alice: Tenant) -> None:
        for path, body in (
            (f"keys/{alice.key.public_id}", {"daily_usd": "3"}),
            (f"workspaces/{alice.workspace.public_id}", {"name": "Other"}),
            (f"members/{alice.member.public_id}", {"role": "billing"}),
            (f"service-accounts/{alice.service_account.public_id}", {"role": "viewer"}),
            ("limits", {"monthly_usd": "7"}),
        ):
            first: Any = alice.session().ask("GET", path)
            etag = first["ETag"]
            assert told(alice.session().ask("PATCH", path, body, If_Match=etag))
            again = alice.session().ask("PATCH", path, body, If_Match=etag)
            assert refusal(again)["reason"] == "version_conflict", path

    def test_two_different_ones_are_refused(self, alice: Tenant) -> None:
        path = f"keys/{alice.key.public_id}"
        body = {"name": "x", "version": "1"}

        assert refusal(alice.session().ask("PATCH", path, body, If_Match='"2"'))["code"] == 400


NEW_KEY = {"name": "once", "scopes": ["chat"]}


class TestOnce:
    def test_a_request_that_is_sent_twice_is_made_once(self, alice: Tenant) -> None:
        program = alice.session()
        first: Any = program.ask("POST", "keys", NEW_KEY, Idempotency_Key="a")
        second: Any = program.ask("POST", "keys", NEW_KEY, Idempotency_Key="a")

        assert json.loads(first.content) == json.loads(second.content)
        assert (second.status_code, second["idempotent-replayed"]) == (201, "true")
        assert ApiKey.objects.filter(name="once").count() == 1

    def test_what_is_kept_is_sealed(self, alice: Tenant) -> None:
        made = alice.session().post("keys", NEW_KEY, Idempotency_Key="a")
        kept = KeptAnswer.objects.get()

        assert made["key"].encode() not in bytes(kept.sealed)
        assert b"once" not in bytes(kept.sealed)

    def test_another_body_is_a_409(self, alice: Tenant) -> None:
        alice.session().post("keys", NEW_KEY, Idempotency_Key="a")
        other = alice.session().ask("POST", "keys", NEW_KEY | {"rpm": 1}, Idempotency_Key="a")

        assert refusal(other)["reason"] == "idempotency_key_reused"

    def test_a_refused_request_leaves_the_word_free(self, alice: Tenant) -> None:
        wrong = alice.session().ask("POST", "keys", {"name": "once"}, Idempotency_Key="a")

        assert wrong.status_code == 400
        assert alice.session().post("keys", NEW_KEY, Idempotency_Key="a")["key"]

    def test_words_of_two_callers_are_two(self, alice: Tenant, bob: Tenant) -> None:
        one = alice.session().post("keys", NEW_KEY, Idempotency_Key="a")
        two = bob.session().post("keys", NEW_KEY, Idempotency_Key="a")

        assert one["id"] != two["id"]

    @pytest.mark.parametrize("word", ["", "é", "x" * 256])
    def test_a_word_has_a_form(self, alice: Tenant, word: str) -> None:
        response = alice.session().ask("POST", "keys", NEW_KEY, Idempotency_Key=word)

        assert refusal(response)["param"] == "Idempotency-Key"

    @pytest.mark.django_db(transaction=True)
    def test_requests_at_the_same_moment_make_one_key(self) -> None:
        alice = pages.person("alice")
        home = pages.home(alice)
        answers: list[Any] = []

        def ask() -> None:
            send = partial(session(alice, home).ask, "POST", "keys", NEW_KEY, Idempotency_Key="a")
            answer = send()
            # Where the first takes longer than the others wait, they are told to come back.
            while answer.status_code == 409:
                assert refusal(answer)["reason"] == "idempotency_in_progress"
                answer = send()
            answers.append(answer)

        together(*([ask] * 4))

        assert {json.loads(each.content)["id"] for each in answers} == {
            ApiKey.objects.get(name="once").public_id
        }


class TestPolicies:
    def test_an_endpoint_without_a_policy_refuses_to_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert startup.problems() == []
        route = policies.routes()[0]
        forgotten = policies.Route(route.path, route.method, None)
        monkeypatch.setattr(policies, "routes", lambda: [forgotten])

        assert "has no policy" in startup.problems()[0]
        assert policies.check_policies(None)

    def test_a_method_that_nobody_decorated_is_found(self, alice: Tenant) -> None:
        from billing.api_limits import LimitsView

        LimitsView.put = LimitsView.http_method_not_allowed  # type: ignore[attr-defined]
        try:
            assert any("PUT /api/v1/limits" in each for each in policies.problems())
        finally:
            del LimitsView.put  # type: ignore[attr-defined]


def test_a_workspace_is_made_renamed_and_closed(alice: Tenant) -> None:
    program = alice.session()
    made = program.post("workspaces", {"name": "New", "external_id": "crm-7"})
    path = f"workspaces/{made['id']}"

    assert program.get("workspaces/crm-7")["id"] == made["id"]
    assert program.patch(path, {"name": "Newer", "version": made["version"]})["name"] == "Newer"
    assert program.ask("POST", f"{path}/close").status_code == 204
    assert program.ask("GET", path).status_code == 403
    assert workspaces.named(text=made["id"]).closed_at is not None


# Made again it is the same, it makes neither a key nor a charge, or its token is used up.
NOT_ONCE = {
    *("invitations/accept", "workspaces/{workspace_id}/leave", "workspaces/{workspace_id}/close"),
    *("keys/{key_id}/disable", "keys/{key_id}/enable", "crypto/address"),
    *(f"service-accounts/{{service_account_id}}/{act}" for act in ("disable", "enable")),
    *("cards", "billing-portal"),
}


class TestEveryChange:
    def test_that_makes_a_key_or_moves_money_can_be_sent_twice(self) -> None:
        making = {route for route in policies.routes() if route.method == "POST"}
        without = {address(route.path) for route in making if not route.operation.once}

        assert without == NOT_ONCE

    def test_that_updates_takes_the_version_that_was_read(self) -> None:
        updates = [route for route in policies.routes() if route.method in ("PATCH", "PUT")]

        assert len(updates) > 8
        for route in updates:
            assert "version" in route.operation.body().fields, route
            assert "version" in route.operation.answer().fields, route
