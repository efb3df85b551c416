"""
No sequence of calls makes a key with more rights than whoever began it had.

Rights are scopes in workspaces, models, addresses, expiry and limits. What an invited person makes
with a session of their own is bound by their role alone: that role is within the inviting key's
scopes, and a key that is bound in any other way gives none.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import hypothesis
import pytest
from django.core import mail
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from accounts import invitations, keys, members, service_accounts, workspaces
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, Membership, User, Workspace
from accounts.scopes import EITHER, INFERENCE, MANAGEMENT, Role, Scope, of_role
from billing import limits
from tests import pages
from tests.api.conftest import Program, refusal, session, with_key

SCOPES = st.lists(st.sampled_from(sorted(Scope)), min_size=1, max_size=5, unique=True)
ROLES = st.sampled_from(sorted(Role))
PICK = st.integers(0, 5)
# Mostly with the first key: two of the next ones work no more.
WHO = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 5])
# For each of the four roles.
EXAMPLES = 15
SOON, LATE = "2100-01-01T00:00:00Z", "2200-01-01T00:00:00Z"
TERMS = st.fixed_dictionaries(
    {},
    optional={
        "models": st.sampled_from([None, ["a"], ["a", "b"], ["c"]]),
        "ips": st.sampled_from([[], ["127.0.0.1"], ["127.0.0.0/8"], ["::/0"], ["0.0.0.0/0"]]),
        "expires_at": st.sampled_from([None, SOON, LATE]),
        "rpm": st.sampled_from([None, 0, 10, 60, 100]),
        "tpm": st.sampled_from([None, 0, 1000, 2000]),
        "max_streams": st.sampled_from([None, 0, 1, 2]),
        "daily_usd": st.sampled_from([None, "0", "5", "50"]),
        "monthly_usd": st.sampled_from([None, "0", "7", "70"]),
    },
)
FIRST = st.just(sorted(MANAGEMENT)) | st.just(sorted(MANAGEMENT)) | SCOPES
UNBOUND = st.just(dict[str, Any]()) | st.just(dict[str, Any]()) | TERMS
ASKED = st.sampled_from([["chat"], ["keys:manage", "keys:read"], sorted(MANAGEMENT)]) | SCOPES
STEPS = st.one_of(
    st.tuples(st.just("create_key"), WHO, ASKED, st.booleans(), UNBOUND),
    st.tuples(st.just("update_key"), WHO, PICK, st.none() | ASKED, UNBOUND),
    st.tuples(st.just("rotate_key"), WHO, PICK),
    st.tuples(st.just("switch_key"), WHO, PICK, st.booleans()),
    st.tuples(st.just("delete_key"), WHO, PICK),
    st.tuples(st.just("add_workspace"), WHO, PICK),
    st.tuples(st.just("create_account"), WHO, ROLES),
    st.tuples(st.just("change_account"), WHO, PICK, ROLES),
    st.tuples(st.just("switch_account"), WHO, PICK, st.booleans()),
    st.tuples(st.just("change_member"), WHO, PICK, ROLES),
    st.tuples(st.just("invite"), WHO, ROLES),
    st.tuples(st.just("remove_member"), WHO, PICK),
    st.tuples(st.just("create_workspace"), WHO),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is there before anybody attacks: people are dear to make, and the same for all."""

    role: Role
    boss: User
    owner: User
    accomplice: User
    place: Workspace


def cast(role: Role) -> Cast:
    """Somebody with a role in a place of their boss, and an accomplice outside."""
    boss, owner, accomplice = (pages.person(name) for name in ("boss", "owner", "accomplice"))
    place = workspaces.create(owner=boss, name="Acme")
    members.add(workspace=place, user=owner, role=role, by=None)
    return Cast(role, boss, owner, accomplice, place)


class Attack:
    """Somebody with one key who tries to get more out of it, with an accomplice's mailbox."""

    def __init__(self, there: Cast | Role, scopes: list[str], terms: dict[str, Any]) -> None:
        there = there if isinstance(there, Cast) else cast(there)
        role, self.boss, self.owner = there.role, there.boss, there.owner
        self.accomplice, self.place = there.accomplice, there.place
        self.done = Counter[tuple[str, str]]()
        key, secret = self._first(scopes, terms)
        self.secrets = [secret]
        self.inside: list[str] = []
        self.known = [key.public_id]
        self.accounts: list[str] = []
        record = keys.find(text=secret)
        assert record is not None
        self.first, self.caps = record, limits.key_caps(key=key)
        self._retire()
        self.limit = (frozenset(key.scopes) & of_role(role)) | INFERENCE | EITHER

    def _first(self, scopes: list[str], terms: dict[str, Any]) -> tuple[ApiKey, str]:
        mine = {name: value for name, value in terms.items() if not name.endswith("_usd")}
        if mine.get("expires_at"):
            mine["expires_at"] = datetime.fromisoformat(mine["expires_at"])
        key, secret = keys.create(
            name="first",
            workspaces=[self.place],
            by=self.owner,
            user=self.owner,
            scopes=scopes,
            **mine,
        )
        caps = [terms.get(name) for name in ("daily_usd", "monthly_usd")]
        daily, monthly = (None if cap is None else int(cap) * 10**9 for cap in caps)
        limits.set_key_caps(key=key, daily=daily, monthly=monthly, by=None, past_tier=True)
        return key, secret

    def _retire(self) -> None:
        """Let the attacker know the texts of two wider keys that work no more."""
        readers = sorted(EITHER)
        for ends in (False, True):
            key, secret = keys.create(
                name="retired",
                workspaces=[self.place],
                by=self.owner,
                user=self.owner,
                scopes=readers,
            )
            if ends:
                past = timezone.now() - timedelta(days=1)
                ApiKey.objects.filter(pk=key.pk).update(expires_at=past)
            else:
                keys.disable(key=key, by=self.owner)
            limits.set_key_caps(key=key, daily=None, monthly=None, by=None, past_tier=True)
            self.secrets.append(secret)
            self.known.append(key.public_id)

    def program(self, pick: int) -> Program:
        """One of the keys so far."""
        return with_key(self.secrets[pick % len(self.secrets)], x_workspace_id=self.place.public_id)

    def ask(self, program: Program, method: str, path: str, body: Any) -> dict[str, Any]:
        """Call, and keep whatever secret comes back."""
        response = program.ask(method, path, body)
        assert response.status_code < 500, response.content
        self.done[method, path.partition("/")[0]] += method != "GET" and response.status_code < 300
        told: dict[str, Any] = json.loads(response.content) if response.content else {}
        if "key" in told:
            self.secrets.append(told["key"])
            self.known.append(told["id"])
        return told

    def step(self, name: str, who: int, *args: Any) -> None:
        """Make one move."""
        getattr(self, name)(self.program(who), *args)

    def create_key(
        self, program: Program, scopes: list[str], for_account: bool, terms: dict[str, Any]
    ) -> None:
        """Ask for a key."""
        body: dict[str, Any] = {"name": "more", "scopes": scopes} | terms
        if for_account and self.accounts:
            body["service_account_id"] = self.accounts[-1]
        self.ask(program, "POST", "keys", body)

    def update_key(
        self, program: Program, which: int, scopes: list[str] | None, terms: dict[str, Any]
    ) -> None:
        """Ask for more on a key, its own among them."""
        key = self.known[which % len(self.known)]
        body = terms | ({} if scopes is None else {"scopes": scopes})
        self.ask(program, "PATCH", f"keys/{key}", body)

    def switch_key(self, program: Program, which: int, on: bool) -> None:
        """Ask for a key to be stopped, or to work again."""
        key = self.known[which % len(self.known)]
        self.ask(program, "POST", f"keys/{key}/{'enable' if on else 'disable'}", {})

    def delete_key(self, program: Program, which: int) -> None:
        """Ask for a key to be ended, as whoever covers their tracks does."""
        key = self.known[which % len(self.known)]
        if key != self.known[0]:
            self.ask(program, "DELETE", f"keys/{key}", {})

    def add_workspace(self, program: Program, which: int) -> None:
        """Ask for a key to carry the owner's own workspace too."""
        both = [self.place.public_id, pages.home(self.owner).public_id]
        self.ask(
            program, "PATCH", f"keys/{self.known[which % len(self.known)]}", {"workspaces": both}
        )

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

    def switch_account(self, program: Program, which: int, on: bool) -> None:
        """Ask for a service account to be stopped, or to work again."""
        if self.accounts:
            path = f"service-accounts/{self.accounts[which % len(self.accounts)]}"
            self.ask(program, "POST", f"{path}/{'enable' if on else 'disable'}", {})

    def change_member(self, program: Program, which: int, role: str) -> None:
        """Ask for another role of a member."""
        told = self.ask(program, "GET", "members", None).get("data", [])
        if told:
            self.ask(program, "PATCH", f"members/{told[which % len(told)]['id']}", {"role": role})

    def remove_member(self, program: Program, which: int) -> None:
        """Ask for a member to go; they can be invited again, as something else."""
        told = self.ask(program, "GET", "members", None).get("data", [])
        others = [row["id"] for row in told if row["user_id"] != self.owner.public_id]
        if others:
            self.ask(program, "DELETE", f"members/{others[which % len(others)]}", {})

    def invite(self, program: Program, role: str) -> None:
        """Invite the accomplice, who takes what there is and makes keys of it."""
        mail.outbox.clear()
        body = {"email": self.accomplice.email, "role": role}
        if "id" not in self.ask(program, "POST", "invitations", body):
            return
        if Membership.objects.filter(workspace=self.place, user=self.accomplice).exists():
            return
        members.add(workspace=self.place, user=self.accomplice, role=role, by=None)
        insider = session(self.accomplice, self.place)
        for scopes in (sorted(MANAGEMENT), ["keys:manage"], ["members:manage"], ["audit:read"]):
            response = insider.ask("POST", "keys", {"name": "inside", "scopes": scopes})
            if response.status_code == 201:
                self.inside.append(json.loads(response.content)["key"])

    def create_workspace(self, program: Program) -> None:
        """Ask for a place where the person is the owner, and for the key to carry it."""
        told = self.ask(program, "POST", "workspaces", {"name": "Mine"})
        if "id" in told:
            both = [self.place.public_id, told["id"]]
            self.ask(program, "PATCH", f"keys/{self.known[0]}", {"workspaces": both})

    def check(self) -> None:
        """Whatever secrets there are: none opens more than the first one could hand on."""
        found = [keys.find(text=secret) for secret in (*self.secrets, *self.inside)]
        # What was deleted opens nothing.
        records = [record for record in found if record is not None]
        assert self.first.public_id in {record.public_id for record in records}
        for record in records:
            for carried in record.workspaces:
                excess = frozenset(carried.scopes) - self.limit
                assert not excess, (record.public_id, sorted(excess))
        for record in records:
            if not record.disabled and not record.expired(now=timezone.now()):
                self._check_bounds(record)

    def _check_bounds(self, record: KeyRecord) -> None:
        first, name = self.first, record.public_id
        assert {place.id for place in record.workspaces} <= {place.id for place in first.workspaces}
        if first.models is not None:
            assert record.models is not None, name
            assert record.models <= first.models, name
        for address in ("127.0.0.1", "127.9.9.9", "8.8.8.8", "::2"):
            assert first.allows_ip(address) or not record.allows_ip(address), name
        ends = [row.expires_at or datetime.max.replace(tzinfo=UTC) for row in (record, first)]
        assert ends[0] <= ends[1], name
        assert all(place.rpm <= first.workspaces[0].rpm for place in record.workspaces), name
        caps = limits.key_caps(key=ApiKey.objects.get(pk=record.id))
        for mine, most in (
            (record.tpm, first.tpm),
            (record.max_streams, first.max_streams),
            *zip(caps, self.caps, strict=True),
        ):
            assert most is None or (mine is not None and mine <= most), (name, mine, most)


def managing(scopes: list[str]) -> list[str]:
    """What of some scopes one management key can carry; who manages keys reads them."""
    kept = set(scopes) - INFERENCE or {"keys:manage"}
    return sorted(kept | ({"keys:read"} if "keys:manage" in kept else set()))


def mild(terms: dict[str, Any]) -> dict[str, Any]:
    """Terms under which the first key works from here."""
    return terms | ({"ips": ["127.0.0.0/8"]} if terms.get("ips") else {})


@pytest.mark.django_db
# The other roles have no keys of their own.
@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.DEVELOPER])
class TestKeys:
    def test_no_sequence_of_calls_gives_more_rights(self, role: Role) -> None:
        there, done = cast(role), Counter[tuple[str, str]]()

        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(FIRST, UNBOUND, st.lists(STEPS, min_size=4, max_size=12))
        def run(scopes: list[str], terms: dict[str, Any], steps: list[tuple[Any, ...]]) -> None:
            with transaction.atomic():
                wanted = sorted(frozenset(managing(scopes)) & of_role(role)) or ["usage:read"]
                attack = Attack(there, wanted, mild(terms))
                for name, *args in steps:
                    attack.step(name, *args)
                attack.check()
                done.update(attack.done)
                transaction.set_rollback(True)

        run()

        # Or it tries nothing.
        assert done["POST", "keys"] > 0 or Scope.KEYS_MANAGE not in of_role(role)


@pytest.mark.django_db
def test_the_attack_makes_keys_where_it_may() -> None:
    attack = Attack(Role.OWNER, sorted(MANAGEMENT), {"models": ["a", "b"], "daily_usd": "5"})
    attack.step("create_key", 0, ["chat"], False, {"models": ["a"]})
    attack.step("create_account", 0, "admin")
    attack.step("create_key", 0, ["keys:manage"], True, {})
    attack.step("create_key", 0, ["keys:manage", "audit:read"], True, {"daily_usd": "0"})
    attack.check()

    assert len(attack.secrets) == 6
    assert isinstance(attack.place, Workspace)


@pytest.mark.django_db
def test_every_step_is_one_that_somebody_may_take() -> None:
    attack = Attack(Role.OWNER, sorted(MANAGEMENT), {})
    for name, *args in (
        ("create_key", 0, ["chat"], False, {}),
        ("update_key", 0, 3, None, {"rpm": 10}),
        ("rotate_key", 0, 3),
        ("switch_key", 0, 3, False),
        ("switch_key", 0, 3, True),
        ("delete_key", 0, 3),
        ("create_account", 0, "admin"),
        ("change_account", 0, 0, "developer"),
        ("switch_account", 0, 0, False),
        ("switch_account", 0, 0, True),
        ("invite", 0, "admin"),
        ("change_member", 0, 0, "viewer"),
        ("remove_member", 0, 0),
        ("create_workspace", 0),
    ):
        before = attack.done.total()
        attack.step(name, *args)
        assert attack.done.total() > before, name
    attack.check()


@pytest.mark.django_db
def test_the_accomplice_gets_in_by_a_key_without_bounds() -> None:
    attack = Attack(Role.OWNER, sorted(MANAGEMENT), {})
    attack.step("invite", 0, "admin")
    attack.check()

    assert len(attack.inside) == 4
    assert User.objects.filter(memberships__workspace=attack.place).count() == 3


@pytest.mark.django_db
class TestBounds:
    TERMS: ClassVar[dict[str, Any]] = {
        "models": ["a"],
        "ips": ["127.0.0.0/8"],
        "expires_at": SOON,
        "rpm": 10,
        "tpm": 1000,
        "max_streams": 1,
        "daily_usd": "5",
        "monthly_usd": "7",
    }
    WIDER: ClassVar = [
        ("models", None),
        ("models", ["a", "b"]),
        ("ips", []),
        ("ips", ["0.0.0.0/0"]),
        ("ips", ["127.0.0.1", "::1"]),
        ("expires_at", None),
        ("expires_at", LATE),
        ("rpm", None),
        ("rpm", 11),
        ("tpm", None),
        ("tpm", 1001),
        ("max_streams", None),
        ("max_streams", 2),
        ("daily_usd", None),
        ("daily_usd", "5.000000001"),
        ("monthly_usd", None),
        ("monthly_usd", "8"),
    ]

    @pytest.mark.parametrize(("name", "wider"), WIDER)
    def test_a_key_widens_neither_itself_nor_what_it_made(self, name: str, wider: object) -> None:
        attack = Attack(Role.OWNER, ["keys:read", "keys:manage"], self.TERMS)
        attack.step("create_key", 0, ["chat"], False, {})
        program = attack.program(0)
        for key in (attack.known[0], attack.known[-1]):
            response = program.ask("PATCH", f"keys/{key}", {name: wider})
            assert response.status_code == 403, response.content
            assert json.loads(response.content)["error"]["param"] == name

    @pytest.mark.parametrize("bound", sorted(TERMS))
    def test_a_key_that_is_bound_gives_no_person_more(self, bound: str) -> None:
        attack = Attack(Role.OWNER, sorted(MANAGEMENT), {bound: self.TERMS[bound]})
        member = members.add(workspace=attack.place, user=attack.accomplice, role="viewer", by=None)
        program, path = attack.program(0), f"members/{member.public_id}"

        for method, place, body in (
            ("POST", "invitations", {"email": "new@example.com", "role": "viewer"}),
            ("PATCH", path, {"role": "developer"}),
        ):
            error = refusal(program.ask(method, place, body))
            assert (error["code"], error["param"]) == (403, "role")
            assert bound in error["message"]
        assert program.ask("DELETE", path).status_code == 204

    def test_a_key_that_is_bound_sends_no_invitation_again(self) -> None:
        attack = Attack(Role.OWNER, sorted(MANAGEMENT), {"models": ["a"]})
        made = invitations.create(
            workspace=attack.place, email="x@example.com", role="viewer", by=attack.boss
        )
        path = f"invitations/{made.public_id}"

        assert attack.program(0).ask("POST", f"{path}/resend").status_code == 403
        assert attack.program(0).ask("DELETE", path).status_code == 204

    def test_the_wider_keys_of_a_service_account_stay_as_they_were(self) -> None:
        attack = Attack(Role.OWNER, sorted(MANAGEMENT), {"models": ["a"]})
        account = service_accounts.create(
            workspace=attack.place, name="robot", role="viewer", by=attack.boss
        )
        wide, _ = keys.create(
            name="wide",
            workspaces=[attack.place],
            by=attack.boss,
            service_account=account,
            scopes=["models:read"],
        )
        path, program = f"service-accounts/{account.public_id}", attack.program(0)

        assert program.ask("PATCH", path, {"role": "developer"}).status_code == 403
        assert program.ask("POST", f"{path}/disable").status_code == 200
        assert program.ask("POST", f"{path}/enable").status_code == 403
        keys.delete(key=wide, by=None)
        assert program.ask("POST", f"{path}/enable").status_code == 200

    def test_what_is_left_out_of_a_new_key_is_its_makers(self) -> None:
        attack = Attack(Role.OWNER, ["keys:read", "keys:manage"], self.TERMS)

        made = attack.program(0).post("keys", {"name": "new", "scopes": ["chat"]})

        ends = {"daily_usd": "5.00", "monthly_usd": "7.00"}
        shown = {name: made.get(name) for name in self.TERMS if not name.endswith("_usd")}
        assert shown == {n: v for n, v in self.TERMS.items() if n not in ends}
        assert limits.key_caps(key=ApiKey.objects.get(public_id=made["id"])) == (
            5 * 10**9,
            7 * 10**9,
        )

    def test_a_key_narrows_itself(self) -> None:
        attack = Attack(Role.OWNER, ["keys:read", "keys:manage"], self.TERMS)

        changed = attack.program(0).patch(f"keys/{attack.known[0]}", {"rpm": 3, "daily_usd": "1"})

        assert changed["rpm"] == 3

    @pytest.mark.parametrize("which", [1, 2])
    def test_a_wider_key_that_works_no_more_is_not_revived(self, which: int) -> None:
        attack = Attack(Role.OWNER, [*sorted(EITHER), "keys:read", "keys:manage"], self.TERMS)
        path, program = f"keys/{attack.known[which]}", attack.program(0)

        for method, place, body in (
            ("POST", f"{path}/enable", {}),
            ("POST", f"{path}/rotate", {}),
            ("PATCH", path, {"expires_at": SOON}),
        ):
            program.ask(method, place, body)
        attack.check()

    def test_a_person_is_bound_by_no_key(self) -> None:
        attack = Attack(Role.OWNER, ["keys:read", "keys:manage"], self.TERMS)
        insider = session(attack.owner, attack.place)

        changed = insider.patch(f"keys/{attack.known[0]}", {"models": None, "daily_usd": "50"})

        assert changed["models"] is None
