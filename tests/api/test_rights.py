"""No sequence of calls makes a key with more rights than whoever began it had."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from django.core import mail
from django.db import transaction
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from accounts import keys, members, workspaces
from accounts.models import ApiKey, User, Workspace
from accounts.scopes import EITHER, INFERENCE, MANAGEMENT, Role, Scope, of_role
from tests import pages
from tests.api.conftest import Program, session, with_key

SCOPES = st.lists(st.sampled_from(sorted(Scope)), min_size=1, max_size=5, unique=True)
ROLES = st.sampled_from(sorted(Role))
PICK = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("create_key"), PICK, SCOPES, st.booleans()),
    st.tuples(st.just("update_key"), PICK, PICK, SCOPES),
    st.tuples(st.just("rotate_key"), PICK, PICK),
    st.tuples(st.just("create_account"), PICK, ROLES),
    st.tuples(st.just("change_account"), PICK, PICK, ROLES),
    st.tuples(st.just("change_member"), PICK, PICK, ROLES),
    st.tuples(st.just("invite"), PICK, ROLES),
    st.tuples(st.just("create_workspace"), PICK),
)


class Attack:
    """Somebody with one key who tries to get more out of it, with an accomplice's mailbox."""

    def __init__(self, role: Role, scopes: list[str]) -> None:
        self.boss, self.owner = pages.person("boss"), pages.person("owner")
        self.accomplice = pages.person("accomplice")
        self.place = workspaces.create(owner=self.boss, name="Acme")
        if role is Role.OWNER:
            members.add(workspace=self.place, user=self.owner, role=Role.OWNER, by=None)
        else:
            members.add(workspace=self.place, user=self.owner, role=role, by=None)
        key, secret = self._first(scopes)
        self.secrets = [secret]
        self.known = [key.public_id]
        self.accounts: list[str] = []
        self.limit = (frozenset(key.scopes) & of_role(role)) | INFERENCE | EITHER

    def _first(self, scopes: list[str]) -> tuple[ApiKey, str]:
        return keys.create(
            name="first", workspaces=[self.place], by=self.owner, user=self.owner, scopes=scopes
        )

    def program(self, pick: int) -> Program:
        """One of the keys so far."""
        return with_key(self.secrets[pick % len(self.secrets)], x_workspace_id=self.place.public_id)

    def ask(self, program: Program, method: str, path: str, body: Any) -> dict[str, Any]:
        """Call, and keep whatever secret comes back."""
        response = program.ask(method, path, body)
        assert response.status_code < 500, response.content
        told: dict[str, Any] = json.loads(response.content) if response.content else {}
        if "key" in told:
            self.secrets.append(told["key"])
            self.known.append(told["id"])
        return told

    def step(self, name: str, who: int, *args: Any) -> None:
        """Make one move."""
        getattr(self, name)(self.program(who), *args)

    def create_key(self, program: Program, scopes: list[str], for_account: bool) -> None:
        """Ask for a key."""
        body: dict[str, Any] = {"name": "more", "scopes": scopes}
        if for_account and self.accounts:
            body["service_account_id"] = self.accounts[-1]
        self.ask(program, "POST", "keys", body)

    def update_key(self, program: Program, which: int, scopes: list[str]) -> None:
        """Ask for more scopes on a key."""
        key = self.known[which % len(self.known)]
        self.ask(program, "PATCH", f"keys/{key}", {"scopes": scopes})

    def rotate_key(self, program: Program, which: int) -> None:
        """Ask for a key's successor, also of keys of others."""
        others = ApiKey.objects.filter(workspaces=self.place).order_by("pk")
        self.ask(program, "POST", f"keys/{others[which % len(others)].public_id}/rotate", {})

    def create_account(self, program: Program, role: str) -> None:
        """Ask for a service account."""
        name = f"robot {len(self.accounts)}"
        told = self.ask(program, "POST", "service-accounts", {"name": name, "role": role})
        if "id" in told:
            self.accounts.append(told["id"])

    def change_account(self, program: Program, which: int, role: str) -> None:
        """Ask for another role of a service account."""
        if self.accounts:
            path = f"service-accounts/{self.accounts[which % len(self.accounts)]}"
            self.ask(program, "PATCH", path, {"role": role})

    def change_member(self, program: Program, which: int, role: str) -> None:
        """Ask for another role of a member."""
        told = self.ask(program, "GET", "members", None).get("data", [])
        if told:
            self.ask(program, "PATCH", f"members/{told[which % len(told)]['id']}", {"role": role})

    def invite(self, program: Program, role: str) -> None:
        """Invite the accomplice, who takes what there is and makes keys of it."""
        mail.outbox.clear()
        body = {"email": self.accomplice.email, "role": role}
        if "id" not in self.ask(program, "POST", "invitations", body):
            return
        members.add(workspace=self.place, user=self.accomplice, role=role, by=None)
        insider = session(self.accomplice, self.place)
        for scopes in (sorted(MANAGEMENT), ["keys:manage"], ["members:manage"], ["audit:read"]):
            self.ask(insider, "POST", "keys", {"name": "inside", "scopes": scopes})

    def create_workspace(self, program: Program) -> None:
        """Ask for a place where the person is the owner, and for the key to carry it."""
        told = self.ask(program, "POST", "workspaces", {"name": "Mine"})
        if "id" in told:
            both = [self.place.public_id, told["id"]]
            self.ask(program, "PATCH", f"keys/{self.known[0]}", {"workspaces": both})

    def check(self) -> None:
        """Whatever secrets there are: none opens more than the first one could hand on."""
        for secret in self.secrets:
            record = keys.find(text=secret)
            assert record is not None
            for carried in record.workspaces:
                excess = frozenset(carried.scopes) - self.limit
                assert not excess, (record.public_id, sorted(excess))


def managing(scopes: list[str]) -> list[str]:
    """What of some scopes one management key can carry."""
    return sorted(set(scopes) - INFERENCE) or ["keys:manage"]


@pytest.mark.django_db
@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.BILLING, Role.DEVELOPER])
class TestKeys:
    def test_no_sequence_of_calls_gives_more_rights(self, role: Role) -> None:
        @hypothesis.settings(
            max_examples=12,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(SCOPES, st.lists(STEPS, min_size=3, max_size=12))
        def run(scopes: list[str], steps: list[tuple[Any, ...]]) -> None:
            with transaction.atomic():
                wanted = sorted(frozenset(managing(scopes)) & of_role(role)) or ["usage:read"]
                attack = Attack(role, wanted)
                for name, *args in steps:
                    attack.step(name, *args)
                attack.check()
                transaction.set_rollback(True)

        run()


@pytest.mark.django_db
def test_the_attack_makes_keys_where_it_may() -> None:
    attack = Attack(Role.OWNER, sorted(MANAGEMENT))
    attack.step("create_key", 0, ["chat"], False)
    attack.step("create_account", 0, "admin")
    attack.step("create_key", 1, ["keys:manage"], True)
    attack.step("create_key", 0, ["keys:manage", "audit:read"], True)
    attack.step("invite", 0, "admin")
    attack.check()

    assert len(attack.secrets) == 7
    assert isinstance(attack.place, Workspace)
    assert User.objects.filter(memberships__workspace=attack.place).count() == 3
