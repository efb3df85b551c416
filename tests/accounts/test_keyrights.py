"""No sequence of calls yields a key with more rights than whoever made it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import keyrecord, keys, members, scopes, service_accounts, signup, workspaces
from accounts.errors import Refused
from accounts.keyrights import Actor, grantable
from accounts.models import ApiKey, Membership, ServiceAccount, User, Workspace
from accounts.scopes import EITHER, INFERENCE, Role, Scope

ROLES = st.sampled_from([*Role])
SCOPES = st.lists(st.sampled_from([*Scope]), min_size=1, max_size=4, unique=True)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["make", "make_for_bot", "widen", "carry", "rotate", "enable", "join", "promote", "bot"]
        ),
        SCOPES,
        st.sampled_from([("A",), ("B",), ("A", "B")]),
        ROLES,
        st.integers(0, 5),
    ),
    max_size=12,
)


class Intruder:
    """Mallory, a member of workspace A with some role, tries everything in A and B."""

    def __init__(self, role: Role) -> None:
        self.mallory = signup.register(email="m@example.com", password="a-long-pass", verified=True)
        host = signup.register(email="h@example.com", password="a-long-pass", verified=True)
        self.places = {
            name: workspaces.create(owner=host, name=name, external_id=name) for name in ("A", "B")
        }
        self.membership = members.add(
            workspace=self.places["A"], user=self.mallory, role=role, by=None
        )
        self.bots = [
            service_accounts.create(workspace=place, name="bot", role="admin", by=host)
            for place in self.places.values()
        ]
        self.foreign = [
            keys.create(name="h", workspaces=[place], scopes=["chat"], user=host, by=host)[0]
            for place in self.places.values()
        ]
        self.role = role
        self.texts: list[str] = []

    def actors(self) -> list[Actor]:
        """Mallory in person and through every key mallory holds."""
        records = (keyrecord.find(text=text) for text in self.texts)
        return [self.mallory, *(record for record in records if record is not None)]

    def step(self, name: str, wanted: list[Scope], where: Any, role: Role, pick: int) -> None:
        by = self.actors()[pick % len(self.actors())]
        carried = [self.places[place] for place in where]
        bot = self.bots[pick % 2]
        pool = [*ApiKey.objects.order_by("pk")]
        key = pool[pick % len(pool)]
        with suppress(Refused), transaction.atomic():
            if name == "make":
                self.hold(
                    keys.create(
                        name="k", workspaces=carried, scopes=wanted, user=self.mallory, by=by
                    ),
                    by,
                )
            elif name == "make_for_bot":
                self.hold(
                    keys.create(
                        name="k", workspaces=carried, scopes=wanted, service_account=bot, by=by
                    ),
                    by,
                )
            elif name == "rotate":
                self.hold(keys.rotate(key=key, overlap=timedelta(0), by=by), by)
            elif name == "widen":
                keys.update(key=key, scopes=wanted, by=by)
            elif name == "carry":
                keys.update(key=key, workspaces=carried, by=by)
            elif name == "enable":
                keys.enable(key=key, by=by)
            elif name == "join":
                members.add(workspace=carried[0], user=self.mallory, role=role, by=self.mallory)
            elif name == "promote":
                current = Membership.objects.get(pk=self.membership.pk)
                members.change_role(membership=current, role=role, by=self.mallory)
            elif name == "bot":
                service_accounts.change_role(account=bot, role=role, by=self.mallory)

    def hold(self, made: tuple[ApiKey, str], by: Actor) -> None:
        key, text = made
        for place in Workspace.objects.filter(key_workspaces__key=key):
            assert set(key.scopes) <= grantable(by=by, workspace=place)
        self.texts.append(text)


@pytest.mark.django_db
class TestRequireToMake:
    @given(role=ROLES.filter(lambda role: role is not Role.OWNER), steps=STEPS)
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_no_sequence_of_calls_gains_a_right(self, role: Role, steps: list[Any]) -> None:
        with transaction.atomic():
            intruder = Intruder(role)
            for step in steps:
                intruder.step(*step)
            own = scopes.of_role(role)
            assert Membership.objects.filter(user=intruder.mallory, role=Role.OWNER).count() == 1
            for text in intruder.texts:
                record = keyrecord.find(text=text)
                assert record is not None
                assert [place.external_id for place in record.workspaces] in (["A"], [])
                assert all(place.scopes <= own for place in record.workspaces)
            transaction.set_rollback(True)


class TestGrantable:
    def test_a_person_gives_what_the_role_has(self, alice: User, home: Workspace) -> None:
        assert grantable(by=alice, workspace=home) == scopes.ALL

    def test_a_management_key_gives_itself_and_what_it_cannot_carry(
        self, alice: User, home: Workspace
    ) -> None:
        _, text = keys.create(
            name="k", workspaces=[home], scopes=["keys:manage"], user=alice, by=alice
        )
        record = keyrecord.find(text=text)
        assert grantable(by=record, workspace=home) == {Scope.KEYS_MANAGE} | INFERENCE | EITHER

    def test_a_key_that_manages_no_keys_gives_nothing(self, alice: User, home: Workspace) -> None:
        _, text = keys.create(
            name="k", workspaces=[home], scopes=["billing:manage"], user=alice, by=alice
        )
        assert grantable(by=keyrecord.find(text=text), workspace=home) == frozenset()

    def test_an_operator_gives_anything(self, home: Workspace) -> None:
        assert grantable(by=None, workspace=home) == scopes.ALL

    def test_a_service_account_gives_what_its_role_has(self, alice: User, home: Workspace) -> None:
        bot = service_accounts.create(workspace=home, name="bot", role="viewer", by=alice)
        assert isinstance(bot, ServiceAccount)
        assert grantable(by=bot, workspace=home) == scopes.of_role("viewer")
