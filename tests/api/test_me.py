"""What belongs to a person alone: their profile, their data, where they are signed in."""

from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session

from accounts.models import AuditEvent
from tests.api.conftest import Tenant, another_session, refusal


class TestProfile:
    def test_what_is_given_is_changed_and_the_rest_stays(self, alice: Tenant) -> None:
        before = alice.session().get("me")

        after = alice.session().patch("me", {"name": "Alice A.", "time_zone": "Asia/Tokyo"})

        kept = {"language": before["language"], "email": before["email"]}
        assert {name: after[name] for name in kept} == kept
        assert (after["name"], after["time_zone"]) == ("Alice A.", "Asia/Tokyo")
        event = AuditEvent.objects.get(action="user.profile_changed")
        assert event.after == {"name": "Alice A.", "time_zone": "Asia/Tokyo"}
        assert event.workspace is not None
        assert event.workspace.personal_of == alice.owner

    @pytest.mark.parametrize(
        "wrong",
        [
            {"language": "xx"},
            {"time_zone": "Mars/Olympus"},
            {"name": "a\u0007"},
            {"name": "x" * 151},
        ],
    )
    def test_what_no_page_can_show_is_refused_by_name(
        self, alice: Tenant, wrong: dict[str, str]
    ) -> None:
        error = refusal(alice.session().ask("PATCH", "me", wrong))

        assert (error["code"], error["param"]) == (400, next(iter(wrong)))

    def test_a_lost_update_is_a_conflict(self, alice: Tenant) -> None:
        seen = alice.session().get("me")["version"]
        alice.session().patch("me", {"name": "First", "version": seen})

        late = alice.session().ask("PATCH", "me", {"name": "Second"}, If_Match=f'"{seen}"')

        assert refusal(late)["reason"] == "version_conflict"

    def test_a_key_changes_nobody(self, alice: Tenant) -> None:
        for method, path in (("PATCH", "me"), ("GET", "me/data"), ("DELETE", "me/sessions")):
            error = refusal(alice.program().ask(method, path, {}))
            assert (error["code"], error["reason"]) == (403, "scope_missing")


class TestData:
    def test_names_the_person_and_nobody_else(self, alice: Tenant, bob: Tenant) -> None:
        found = alice.session().get("me/data")

        assert found["user"]["email"] == alice.owner.email
        assert found["keys"]
        assert bob.owner.email not in str(found)


class TestSessions:
    def test_one_is_ended_there_and_at_once(self, alice: Tenant) -> None:
        there, here = alice.elsewhere, alice.session()
        shown = here.get("me/sessions")["data"]
        assert [(row["id"], row["current"]) for row in shown] == [(str(there.pk), False)]

        assert here.ask("DELETE", f"me/sessions/{there.pk}").status_code == 204

        assert not Session.objects.filter(session_key=there.session_key).exists()
        assert here.get("me")["email"] == alice.owner.email
        assert here.ask("DELETE", f"me/sessions/{there.pk}").status_code == 404

    def test_all_others_are_ended_and_this_one_goes_on(self, alice: Tenant, bob: Tenant) -> None:
        another_session(alice.owner)
        here = alice.session()

        assert here.ask("DELETE", "me/sessions").status_code == 204

        assert here.get("me/sessions")["data"] == []
        assert list(UserSession.objects.all()) == [bob.elsewhere]
        assert AuditEvent.objects.filter(action="user.session_ended").count() == 2

    @pytest.mark.parametrize("name", ["x", "0", "9" * 30, "²"])
    def test_one_that_is_not_theirs_is_not_found(
        self, alice: Tenant, bob: Tenant, name: str
    ) -> None:
        theirs = another_session(bob.owner)

        for session_id in (name, str(theirs.pk)):
            assert alice.session().ask("DELETE", f"me/sessions/{session_id}").status_code == 404
        assert UserSession.objects.filter(pk=theirs.pk).exists()
