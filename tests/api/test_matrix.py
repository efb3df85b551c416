"""Two tenants, every role, every scope, every method of every endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from accounts import members, sessions
from accounts.models import AuditEvent, User
from accounts.scopes import ALL, INFERENCE, Role, Scope, of_role
from config import policies
from proxy import gateway as gateway_app
from tests import pages
from tests.api.conftest import BASE, Program, Tenant, session, with_key
from tests.api.entries import GATEWAY, MANAGEMENT, MEMBER, PEOPLE, PERSON, SIGNED_IN

NOBODY = "x0000000000000000000"
# What the owner could send: a refusal of the body would say nothing of the address.
RIGHT = {
    ("PATCH", "keys/{key_id}"): {"rpm": 1},
    ("PATCH", "members/{member_id}"): {"role": "viewer"},
    ("PATCH", "service-accounts/{service_account_id}"): {"role": "viewer"},
    ("PATCH", "webhooks/{webhook_id}"): {"enabled": False},
    ("PATCH", "workspaces/{workspace_id}"): {"name": "Mine"},
}


def address(path: str) -> str:
    """An address as OpenAPI writes it, without the base."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path).removeprefix(BASE)


def filled(path: str, ids: dict[str, str]) -> str:
    """An address with ids; what nobody knows is the id of nothing."""
    return re.sub(r"{(\w+)}", lambda name: ids.get(name[1], NOBODY), path)


def empty_ids(tenant: Tenant) -> dict[str, str]:
    """Ids that change nothing: only the workspace is real."""
    return {"workspace_id": tenant.workspace.public_id}


class TestRoutes:
    def test_every_endpoint_has_an_entry_and_every_entry_an_endpoint(self) -> None:
        routes = {(route.method, address(route.path)) for route in policies.routes()}

        assert routes == set(MANAGEMENT)

    def test_every_endpoint_is_declared_as_its_entry_says(self) -> None:
        for route in policies.routes():
            entry = MANAGEMENT[route.method, address(route.path)]
            access = route.operation.access
            said = [str(access.scope)] if access.scope else []
            if not said:
                said = [MEMBER if access.workspace else SIGNED_IN if access.keys else PERSON]
            assert (*said, *([PEOPLE] if access.people else [])) == entry, route

    def test_every_path_of_the_gateway_has_an_entry(self) -> None:
        served = {
            (method, path.removeprefix("/api/v1/").removeprefix("/v1/"))
            for path, (method, _) in gateway_app.SURFACES.items()
        }

        assert served == set(GATEWAY)

    def test_the_two_never_claim_the_same_path(self) -> None:
        for _, path in MANAGEMENT:
            assert not gateway_app.owns(filled(f"{BASE}{path}", {})), path


@pytest.fixture
def roles(alice: Tenant) -> dict[str, Program]:
    """Somebody of every role in alice's workspace."""
    found = {str(Role.OWNER): alice.session()}
    for role in Role:
        if role is not Role.OWNER:
            user = pages.person(f"a-{role}")
            members.add(workspace=alice.workspace, user=user, role=role, by=None)
            found[str(role)] = session(user, alice.workspace)
    return found


def may(entry: tuple[str, ...], scopes: frozenset[Scope], *, person: bool) -> bool:
    """Whether somebody is let in."""
    if entry[0] in (MEMBER, SIGNED_IN) or (person and (PEOPLE in entry or PERSON in entry)):
        return True
    return entry[0] in scopes


def was_let_in(program: Program, method: str, path: str) -> bool:
    """Whether a call came further than the door; with ids of nothing and an empty body."""
    response = program.ask(method, path)
    assert response.status_code < 500, (method, path, response.content)
    if response.status_code not in (401, 403):
        return True
    message = response.json()["error"]["message"]  # type: ignore[attr-defined]  # the test client's
    # What the door says, as opposed to what the rules behind it say.
    return not re.search(
        r"does not have the scope|No API key|not a member|not carry|not for a key", message
    )


def everything() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Every method of every endpoint but those that would end the tests."""
    for (method, path), entry in MANAGEMENT.items():
        if not path.endswith(("/leave", "/close")):
            yield method, path, entry


class TestRoles:
    def test_a_role_is_let_in_where_its_scopes_say(
        self, alice: Tenant, roles: dict[str, Program]
    ) -> None:
        for method, path, entry in everything():
            for role, program in roles.items():
                let_in = was_let_in(program, method, filled(path, empty_ids(alice)))
                assert let_in == may(entry, of_role(role), person=True), (role, method, path)

    def test_a_stranger_is_let_in_nowhere(self, alice: Tenant, bob: Tenant) -> None:
        stranger = session(bob.owner, alice.workspace)
        for method, path, entry in everything():
            if entry[0] not in (SIGNED_IN, PERSON) and (method, path) != ("POST", "workspaces"):
                response = stranger.ask(method, filled(path, empty_ids(alice)))
                assert response.status_code == 403, (method, path, response.content)

    def test_nobody_at_all_is_let_in_nowhere(self, alice: Tenant) -> None:
        nobody = with_key("")
        for method, path, _ in everything():
            response = nobody.ask(method, filled(path, empty_ids(alice)))
            assert response.status_code == 401, (method, path)


class TestScopes:
    def test_a_key_is_let_in_with_the_scope_and_without_it_not(self, alice: Tenant) -> None:
        programs = {scope: with_key(alice.secret([scope])) for scope in sorted(ALL)}
        for method, path, entry in everything():
            for scope, program in programs.items():
                let_in = was_let_in(program, method, filled(path, empty_ids(alice)))
                allowed = may(entry, frozenset({scope}), person=False)
                assert let_in == allowed, (scope, method, path)


class TestTenants:
    def test_there_is_one_of_everything_that_an_address_names(self, alice: Tenant) -> None:
        named = {name for _, path in MANAGEMENT for name in re.findall(r"{(\w+)}", path)}

        assert set(alice.addresses()) == named

    def test_a_key_of_one_reaches_nothing_of_the_other(self, alice: Tenant, bob: Tenant) -> None:
        self._reaches_nothing(alice, bob.program())

    def test_an_owner_of_one_reaches_nothing_of_the_other(self, alice: Tenant, bob: Tenant) -> None:
        self._reaches_nothing(alice, bob.session())

    def _reaches_nothing(self, alice: Tenant, program: Program) -> None:
        before = AuditEvent.objects.filter(workspace=alice.workspace).count()
        for method, path in MANAGEMENT:
            if "{" in path:
                body = RIGHT.get((method, path))
                response = program.ask(method, filled(path, alice.addresses()), body)
                assert response.status_code in (403, 404), (method, path, response.content)
        assert AuditEvent.objects.filter(workspace=alice.workspace).count() == before
        assert sessions.of(user=alice.owner).filter(pk=alice.elsewhere.pk).exists()

    def test_a_list_of_one_shows_nothing_of_the_other(self, alice: Tenant, bob: Tenant) -> None:
        theirs = [*alice.addresses().values(), alice.owner.email, alice.key.name]
        for program, person in ((bob.program(), False), (bob.session(), True)):
            for (method, path), entry in MANAGEMENT.items():
                if method == "GET" and "{" not in path and (person or PERSON not in entry):
                    response = program.ask(method, path)
                    assert response.status_code == 200, (path, response.content)
                    assert not [each for each in theirs if each in response.content.decode()], path


class TestManagementKeys:
    def test_no_management_key_can_carry_inference(self, alice: Tenant) -> None:
        for scope in sorted(INFERENCE):
            response = alice.program("keys:manage").ask(
                "POST", "keys", {"name": "both", "scopes": [scope, "keys:manage"]}
            )
            assert response.status_code == 400


def test_staff_is_nobody_here(alice: Tenant) -> None:
    staff = User.objects.create_superuser("root@example.com", "a-long-enough-pass")

    response = session(staff, alice.workspace).ask("GET", "keys")

    assert response.status_code == 403
