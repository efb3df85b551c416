from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts import keyrecord, keys, keystore, members, service_accounts, signup, workspaces
from accounts.actors import Staff
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, Missing, NotVerified
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, AuditEvent, Membership, ServiceAccount, User, Workspace
from tests.accounts.races import together

Join = Callable[[User, Workspace, str], None]
HOUR = timedelta(hours=1)


def new(owner: User, *carried: Workspace, **terms: Any) -> tuple[ApiKey, str]:
    values: dict[str, Any] = {"name": "k", "scopes": ["chat"], "user": owner, "by": owner}
    return keys.create(workspaces=carried, **(values | terms))


def record(text: str) -> KeyRecord:
    found = keyrecord.find(text=text)
    assert found is not None
    return found


def carried_by(key: ApiKey) -> set[int]:
    return set(key.key_workspaces.values_list("workspace_id", flat=True))


@pytest.fixture
def bot(alice: User, home: Workspace) -> ServiceAccount:
    return service_accounts.create(workspace=home, name="bot", role="developer", by=alice)


@pytest.fixture
def manager(alice: User, home: Workspace) -> KeyRecord:
    """Alice, acting through a management key."""
    return record(new(alice, home, scopes=["keys:manage"])[1])


class TestCreate:
    def test_the_text_is_given_once_and_stored_nowhere(self, alice: User, home: Workspace) -> None:
        key, text = new(alice, home)
        stored = ApiKey.objects.filter(pk=key.pk).values().get()
        secret = text.removeprefix("sk-tg-")
        assert text.startswith("sk-tg-")
        assert not any(secret[:8] in str(value) for value in stored.values())
        assert secret.encode() not in bytes(stored["digest"])
        assert key.hint == f"sk-tg-…{text[-4:]}"

    def test_another_prefix_kills_no_key(
        self, alice: User, home: Workspace, settings: Settings
    ) -> None:
        key, text = new(alice, home)
        settings.API_KEY_PREFIX = "sk-other-"
        assert new(alice, home)[1].startswith("sk-other-")
        assert record(text).id == key.pk

    def test_it_remembers_its_maker(self, alice: User, home: Workspace, manager: KeyRecord) -> None:
        assert new(alice, home)[0].created_by == alice
        assert new(alice, home, by=manager)[0].created_by == alice
        assert new(alice, home, by=None)[0].created_by is None

    def test_it_tells_the_layers_above(
        self, alice: User, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[ApiKey] = []
        monkeypatch.setattr(keystore, "on_created", [seen.append])
        key, _ = new(alice, home)
        assert seen == [key]

    def test_an_unverified_person_creates_none(self, person: Any) -> None:
        carol = person("carol", verified=False)
        place = Workspace.objects.get(personal_of=carol)
        with pytest.raises(NotVerified):
            new(carol, place)
        assert new(carol, place, by=None)[0].user == carol

    def test_a_foreign_workspace_is_refused(
        self, alice: User, home: Workspace, away: Workspace
    ) -> None:
        for carried in ([away], [home, away]):
            with pytest.raises(ForeignWorkspace):
                new(alice, *carried)
        assert not ApiKey.objects.exists()

    @pytest.mark.parametrize("role", ["viewer", "billing"])
    def test_a_role_without_models_has_no_keys(
        self, bob: User, home: Workspace, join: Join, role: str
    ) -> None:
        join(bob, home, role)
        with pytest.raises(Forbidden, match="chat"):
            new(bob, home)
        with pytest.raises(Forbidden, match="chat"):
            new(bob, home, scopes=["usage:read"])

    def test_a_role_bounds_the_scopes(self, bob: User, home: Workspace, join: Join) -> None:
        join(bob, home, "developer")
        with pytest.raises(Forbidden, match="webhooks:manage"):
            new(bob, home, scopes=["webhooks:manage"])
        assert new(bob, home, scopes=["usage:read"])[0].scopes == ["usage:read"]

    def test_a_scope_must_hold_in_every_workspace(
        self, bob: User, home: Workspace, away: Workspace, join: Join
    ) -> None:
        join(bob, home, "viewer")
        with pytest.raises(Forbidden):
            new(bob, away, home)

    def test_nobody_makes_a_key_for_another_person(
        self, alice: User, bob: User, home: Workspace, manager: KeyRecord, join: Join
    ) -> None:
        join(bob, home, "developer")
        for by in (alice, manager):
            with pytest.raises(Forbidden, match="made by that person"):
                new(bob, home, by=by)

    def test_a_service_account_keeps_to_its_workspace(
        self, alice: User, bot: ServiceAccount
    ) -> None:
        acme = workspaces.create(owner=alice, name="Acme")
        with pytest.raises(ForeignWorkspace):
            new(alice, acme, user=None, service_account=bot)

    def test_a_service_accounts_key_needs_a_manager(
        self, bob: User, home: Workspace, bot: ServiceAccount, join: Join
    ) -> None:
        join(bob, home, "developer")
        with pytest.raises(Forbidden, match="keys:manage"):
            new(bob, home, user=None, service_account=bot)

    def test_a_service_accounts_role_bounds_it_too(
        self, alice: User, home: Workspace, bot: ServiceAccount
    ) -> None:
        with pytest.raises(Forbidden, match="developer"):
            new(alice, home, user=None, service_account=bot, scopes=["keys:manage"])

    def test_a_management_key_makes_inference_keys(
        self, alice: User, home: Workspace, manager: KeyRecord
    ) -> None:
        key, _ = new(alice, home, by=manager)
        assert key.scopes == ["chat"]

    def test_a_management_key_hands_on_no_more_management(
        self, alice: User, home: Workspace, manager: KeyRecord
    ) -> None:
        with pytest.raises(Forbidden, match="billing:manage"):
            new(alice, home, scopes=["billing:manage"], by=manager)

    def test_a_management_key_stays_in_its_workspaces(
        self, alice: User, manager: KeyRecord
    ) -> None:
        acme = workspaces.create(owner=alice, name="Acme")
        with pytest.raises(ForeignWorkspace):
            new(alice, acme, by=manager)

    def test_an_inference_key_makes_no_keys(self, alice: User, home: Workspace) -> None:
        with pytest.raises(Forbidden):
            new(alice, home, by=record(new(alice, home)[1]))

    @pytest.mark.parametrize(
        "terms",
        [
            {"name": ""},
            {"name": "x" * 101},
            {"name": "a\x00b"},
            {"scopes": []},
            {"scopes": ["chat", "keys:manage"]},
            {"scopes": ["root"]},
            {"rpm": 601},
            {"rpm": -1},
            {"models": []},
            {"ips": ["here"]},
            {"expires_at": timezone.now() - HOUR},
            {"user": None},
        ],
    )
    def test_bad_terms_are_refused(
        self, alice: User, home: Workspace, terms: dict[str, Any]
    ) -> None:
        with pytest.raises(Invalid):
            new(alice, home, **terms)
        assert not ApiKey.objects.exists()

    def test_a_closed_workspace_gets_no_keys(self, alice: User) -> None:
        acme = workspaces.create(owner=alice, name="Acme")
        workspaces.close(workspace=acme, by=alice)
        with pytest.raises(Invalid, match="closed"):
            new(alice, acme)

    def test_without_workspaces_there_is_no_key(self, alice: User) -> None:
        with pytest.raises(Invalid, match="at least one"):
            new(alice)


class TestUpdate:
    def test_it_changes_what_is_given_and_leaves_the_rest(
        self, alice: User, home: Workspace
    ) -> None:
        key, _ = new(alice, home, models=["a"], rpm=10, ips=["10.0.0.1"])
        updated = keys.update(key=key, by=alice, name="new name", models=None)
        assert (updated.name, updated.models) == ("new name", None)
        assert (updated.rpm, updated.ips, updated.scopes) == (10, ["10.0.0.1/32"], ["chat"])
        assert updated.version > key.version

    def test_limits_of_tokens_and_streams_are_set_and_lifted(
        self, alice: User, home: Workspace
    ) -> None:
        key, text = new(alice, home, tpm=500, max_streams=2)
        assert (record(text).tpm, record(text).max_streams) == (500, 2)
        keys.update(key=key, by=alice, tpm=None, max_streams=7)
        assert (record(text).tpm, record(text).max_streams) == (None, 7)
        fresh, _ = keys.rotate(key=key, overlap=HOUR, by=alice)
        assert (fresh.tpm, fresh.max_streams) == (None, 7)

    def test_new_scopes_are_proved_like_a_new_keys(
        self, bob: User, home: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home)
        with pytest.raises(Forbidden):
            keys.update(key=key, by=bob, scopes=["members:manage"])

    def test_new_workspaces_are_proved_like_a_new_keys(
        self, key: ApiKey, alice: User, home: Workspace, away: Workspace
    ) -> None:
        with pytest.raises(ForeignWorkspace):
            keys.update(key=key, by=alice, workspaces=[home, away])

    def test_it_exchanges_workspaces(self, key: ApiKey, alice: User) -> None:
        acme = workspaces.create(owner=alice, name="Acme")
        keys.update(key=key, by=alice, workspaces=[acme])
        assert carried_by(key) == {acme.pk}

    def test_a_stranger_changes_nothing(self, key: ApiKey, bob: User) -> None:
        with pytest.raises(Forbidden):
            keys.update(key=key, by=bob, name="mine")

    def test_a_keeper_limits_anothers_key_but_does_not_widen_it(
        self, alice: User, bob: User, home: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home)
        assert keys.update(key=key, by=alice, rpm=1).rpm == 1
        with pytest.raises(Forbidden):
            keys.update(key=key, by=alice, scopes=["chat", "images"])

    def test_a_deleted_key_is_not_changed(self, key: ApiKey, alice: User) -> None:
        keys.delete(key=key, by=alice)
        with pytest.raises(Invalid, match="deleted"):
            keys.update(key=key, by=alice, name="x")


class TestDisable:
    def test_it_is_reversible(self, key: ApiKey, alice: User) -> None:
        assert keys.disable(key=key, by=alice).disabled_at is not None
        assert keys.enable(key=key, by=alice).disabled_at is None

    def test_the_version_rises_each_time(self, key: ApiKey, alice: User) -> None:
        first = keys.disable(key=key, by=alice).version
        assert first > key.version
        assert keys.enable(key=key, by=alice).version > first

    def test_a_second_time_keeps_the_first_moment(self, key: ApiKey, alice: User) -> None:
        moment = keys.disable(key=key, by=alice).disabled_at
        assert keys.disable(key=key, by=alice).disabled_at == moment

    def test_a_stranger_may_not(self, key: ApiKey, bob: User) -> None:
        for change in (keys.disable, keys.enable, keys.delete):
            with pytest.raises(Forbidden):
                change(key=key, by=bob)

    def test_a_keeper_may_where_the_key_is_only_theirs(
        self, alice: User, bob: User, home: Workspace, manager: KeyRecord, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home)
        assert keys.disable(key=key, by=alice).disabled_at
        assert keys.enable(key=key, by=manager).disabled_at is None

    def test_a_keeper_may_not_where_it_serves_another_tenant(
        self, alice: User, bob: User, home: Workspace, away: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home, away)
        with pytest.raises(Forbidden):
            keys.disable(key=key, by=alice)

    def test_a_key_without_workspaces_is_its_owners_alone(
        self, key: ApiKey, alice: User, bob: User
    ) -> None:
        key.key_workspaces.all().delete()
        with pytest.raises(Forbidden):
            keys.disable(key=key, by=bob)
        assert keys.disable(key=key, by=alice).disabled_at


class TestEnable:
    @pytest.fixture
    def desk(self, bob: User) -> Staff:
        """Somebody who works for the operator."""
        return Staff(bob)

    def test_what_staff_disabled_only_staff_enable(
        self, alice: User, home: Workspace, manager: KeyRecord, desk: Staff
    ) -> None:
        key, text = new(alice, home)
        keys.disable(key=key, by=desk)
        for by in (alice, manager):
            with pytest.raises(Forbidden, match="The operator disabled this key"):
                keys.enable(key=key, by=by)
        assert record(text).disabled
        enabled = keys.enable(key=key, by=desk)
        assert (enabled.disabled_at, enabled.disabled_by_staff) == (None, False)
        assert not record(text).disabled

    def test_what_its_owner_had_disabled_becomes_theirs(
        self, key: ApiKey, alice: User, desk: Staff
    ) -> None:
        moment = keys.disable(key=key, by=alice).disabled_at
        taken = keys.disable(key=key, by=desk)
        assert (taken.disabled_at, taken.disabled_by_staff) == (moment, True)
        event = AuditEvent.objects.filter(target=key.public_id).latest("pk")
        assert (event.action, event.actor) == ("key.disabled", "staff")
        assert (event.before, event.after) == (
            {"disabled_by_staff": False},
            {"disabled_by_staff": True},
        )
        with pytest.raises(Forbidden):
            keys.enable(key=key, by=alice)

    def test_disabling_it_again_or_changing_it_does_not_give_it_back(
        self, key: ApiKey, alice: User, desk: Staff
    ) -> None:
        keys.disable(key=key, by=desk)
        assert keys.disable(key=key, by=alice).disabled_by_staff
        changed = keys.update(key=key, by=alice, name="x", expires_at=timezone.now() + HOUR)
        assert changed.disabled_at is not None
        with pytest.raises(Forbidden):
            keys.enable(key=key, by=alice)

    def test_a_service_account_that_works_again_does_not_bring_its_key_back(
        self, alice: User, home: Workspace, bot: ServiceAccount, desk: Staff
    ) -> None:
        key, text = new(alice, home, user=None, service_account=bot)
        keys.disable(key=key, by=desk)
        service_accounts.disable(account=bot, by=alice)
        service_accounts.enable(account=bot, by=alice)
        assert record(text).disabled
        with pytest.raises(Forbidden):
            keys.enable(key=key, by=alice)

    def test_what_a_command_disabled_its_owner_enables(self, key: ApiKey, alice: User) -> None:
        assert not keys.disable(key=key, by=None).disabled_by_staff
        assert keys.enable(key=key, by=alice).disabled_at is None

    def test_a_stranger_is_not_told_who_disabled_it(
        self, key: ApiKey, bob: User, desk: Staff
    ) -> None:
        keys.disable(key=key, by=desk)
        with pytest.raises(Forbidden, match="by its owner"):
            keys.enable(key=key, by=bob)


class TestDelete:
    def test_it_is_final(self, key: ApiKey, alice: User) -> None:
        keys.delete(key=key, by=alice)
        for change in (keys.disable, keys.enable, keys.delete):
            with pytest.raises(Invalid, match="deleted"):
                change(key=key, by=alice)


class TestDetach:
    def test_a_keeper_takes_only_their_workspace_away(
        self, alice: User, bob: User, home: Workspace, away: Workspace, join: Join
    ) -> None:
        join(bob, home, "developer")
        key, _ = new(bob, home, away)
        detached = keys.detach(key=key, workspace=home, by=alice)
        assert carried_by(key) == {away.pk}
        assert detached.version > key.version
        with pytest.raises(Forbidden):
            keys.detach(key=key, workspace=away, by=alice)


class TestVisible:
    @pytest.fixture
    def theirs(self, alice: User, bob: User, home: Workspace, join: Join) -> ApiKey:
        join(bob, home, "developer")
        made, _ = new(bob, home, scopes=["usage:read"])
        Membership.objects.filter(user=bob, workspace=home).update(role="billing")
        return made

    def test_readers_see_all_and_others_their_own(
        self, key: ApiKey, theirs: ApiKey, alice: User, bob: User, home: Workspace
    ) -> None:
        assert list(keys.visible(workspace=home, by=alice)) == [theirs, key]
        assert list(keys.visible(workspace=home, by=bob)) == [theirs]

    def test_a_stranger_sees_none(self, key: ApiKey, home: Workspace, bob: User) -> None:
        assert not keys.visible(workspace=home, by=bob).exists()

    def test_deleted_and_playground_keys_are_not_listed(
        self, key: ApiKey, alice: User, home: Workspace
    ) -> None:
        keys.delete(key=key, by=alice)
        new(alice, home, kind="playground", expires_at=timezone.now() + HOUR)
        assert not keys.visible(workspace=home, by=alice).exists()


class TestGet:
    def test_owner_and_readers_get_it(self, key: ApiKey, alice: User, bob: User) -> None:
        assert keys.get(public_id=key.public_id, by=alice) == key
        members.add(workspace=key.workspaces.get(), user=bob, role="viewer", by=None)
        assert keys.get(public_id=key.public_id, by=bob) == key

    def test_a_stranger_gets_what_an_unknown_id_gets(self, key: ApiKey, bob: User) -> None:
        for public_id in (key.public_id, "key_unknown"):
            with pytest.raises(Missing, match="no such key"):
                keys.get(public_id=public_id, by=bob)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_a_change_beside_a_disabling_does_not_undo_it(self) -> None:
        owner = signup.register(email="o@example.com", password="a-long-pass", verified=True)
        place = Workspace.objects.get(personal_of=owner)
        for _ in range(10):
            key, text = new(owner, place)
            refused = together(
                partial(keys.update, key=key, by=owner, name="changed", rpm=5),
                partial(keys.disable, key=key, by=owner),
            )
            stored = record(text)
            assert refused == []
            assert (stored.disabled, stored.rpm, stored.version) == (True, 5, key.version + 2)
