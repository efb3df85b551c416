from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import keyrecord, keys, keytext, members, service_accounts, workspaces
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, Membership, Tier, User, Workspace


def found(text: str) -> KeyRecord:
    record = keyrecord.find(text=text)
    assert record is not None
    return record


def made(owner: User, *carried: Workspace, **terms: object) -> tuple[ApiKey, str]:
    values: dict[str, object] = {"name": "k", "scopes": ["chat"], "user": owner, "by": owner}
    return keys.create(workspaces=list(carried), **(values | terms))  # type: ignore[arg-type]


class TestFind:
    def test_it_knows_everything_in_one_query(
        self, alice: User, home: Workspace, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        end = timezone.now() + timedelta(days=1)
        key, text = made(
            alice, home, models=["openai/gpt-4o"], rpm=30, ips=["10.0.0.0/8"], expires_at=end
        )
        with django_assert_num_queries(1):
            record = found(text)
        assert (record.id, record.public_id, record.version) == (key.pk, key.public_id, key.version)
        assert (record.kind, record.rpm, record.expires_at) == ("standard", 30, end)
        assert record.scopes == {"chat"}
        assert record.models == frozenset({"openai/gpt-4o"})
        assert (record.user_id, record.service_account_id) == (alice.pk, None)
        assert (record.disabled, record.deleted, record.owner_active) == (False, False, True)

    def test_it_tells_each_workspace_with_its_rights_and_limit(
        self, alice: User, home: Workspace, join: Callable[[User, Workspace, str], None]
    ) -> None:
        second = workspaces.create(owner=alice, name="Acme", external_id="acme")
        _, text = made(alice, home, second, scopes=["chat", "usage:read"])
        join(User.objects.create_user("carol@example.com"), second, "owner")
        members.change_role(
            membership=Membership.objects.get(user=alice, workspace=second), role="viewer", by=None
        )
        first, other = found(text).workspaces
        assert (first.public_id, first.external_id, first.role) == (home.public_id, None, "owner")
        assert (first.scopes, first.rpm, first.closed) == (
            frozenset({"chat", "usage:read"}),
            60,
            False,
        )
        assert (other.external_id, other.role, other.scopes) == (
            "acme",
            "viewer",
            frozenset({"usage:read"}),
        )

    def test_a_text_that_is_no_key_finds_nothing(self, db: None) -> None:
        assert keyrecord.find(text=keytext.mint(prefix="sk-tg-")) is None

    def test_a_text_with_a_lone_surrogate_finds_nothing(self, db: None) -> None:
        assert keyrecord.find(text="sk-\udcff") is None

    def test_disabled_and_deleted_keys_are_found_as_such(
        self, alice: User, home: Workspace
    ) -> None:
        key, text = made(alice, home)
        keys.disable(key=key, by=alice)
        assert found(text).disabled
        keys.delete(key=key, by=alice)
        assert found(text).deleted

    def test_a_key_whose_owner_may_not_sign_in_says_so(self, alice: User, home: Workspace) -> None:
        _, text = made(alice, home)
        User.objects.filter(pk=alice.pk).update(is_active=False)
        assert not found(text).owner_active

    def test_a_key_of_a_service_account_knows_its_role(self, alice: User, home: Workspace) -> None:
        bot = service_accounts.create(workspace=home, name="bot", role="developer", by=alice)
        _, text = made(alice, home, user=None, service_account=bot)
        record = found(text)
        assert (record.user_id, record.service_account_id) == (None, bot.pk)
        assert (record.owner_active, record.workspaces[0].role) == (True, "developer")
        service_accounts.disable(account=bot, by=alice)
        assert not found(text).owner_active

    def test_membership_is_asked_again_at_use(self, alice: User, home: Workspace) -> None:
        _, text = made(alice, home)
        with connection.cursor() as cursor:
            # As if the rule that empties the key had never run.
            cursor.execute("set local session_replication_role = replica")
            Membership.objects.filter(user=alice).delete()
            cursor.execute("set local session_replication_role = origin")
        assert ApiKey.objects.get().workspaces.get() == home
        assert found(text).workspaces == ()

    def test_without_its_own_rate_a_key_has_its_tiers(self, alice: User, home: Workspace) -> None:
        _, text = made(alice, home)
        Tier.objects.filter(pk=home.tier_id).update(default_rpm=7)
        assert (found(text).rpm, found(text).workspaces[0].rpm) == (None, 7)

    def test_a_closed_workspace_is_told(self, alice: User) -> None:
        acme = workspaces.create(owner=alice, name="Acme")
        _, text = made(alice, acme)
        workspaces.close(workspace=acme, by=alice)
        assert found(text).workspaces[0].closed

    def test_every_configured_pepper_is_tried(
        self, alice: User, home: Workspace, settings: Settings
    ) -> None:
        before = dict(settings.KEY_PEPPERS)
        old, old_text = made(alice, home)
        settings.KEY_PEPPERS = {"next": b"n" * 32, **before}
        new, new_text = made(alice, home)
        assert (found(old_text).id, found(new_text).id) == (old.pk, new.pk)
        assert (old.pepper_id, new.pepper_id) == (next(iter(before)), "next")
        settings.KEY_PEPPERS = {"next": b"n" * 32}
        assert keyrecord.find(text=old_text) is None


class TestReadVersion:
    def test_it_follows_the_key(self, key: ApiKey, alice: User) -> None:
        before = keyrecord.read_version(key_id=key.pk)
        assert before == key.version
        keys.disable(key=key, by=alice)
        assert keyrecord.read_version(key_id=key.pk) == key.version + 1

    def test_no_key_has_no_version(self, db: None) -> None:
        assert keyrecord.read_version(key_id=0) is None


class TestKeyRecord:
    @pytest.fixture
    def record(self, alice: User, home: Workspace) -> KeyRecord:
        _, text = made(alice, home, ips=["10.0.0.0/8", "2001:db8::/32"], models=["a", "b"])
        return found(text)

    def test_it_allows_addresses_on_its_list(self, record: KeyRecord) -> None:
        for address in ("10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"):
            assert record.allows_ip(address)
        for address in ("11.1.2.3", "2001:db9::1", "::ffff:11.1.2.3", "", "localhost"):
            assert not record.allows_ip(address)

    def test_it_allows_a_model_by_any_of_its_names(self, record: KeyRecord) -> None:
        assert record.allows_model("x", "b")
        assert not record.allows_model("x")

    def test_without_lists_it_allows_everything(self, alice: User, home: Workspace) -> None:
        record = found(made(alice, home)[1])
        assert record.allows_ip("203.0.113.9")
        assert record.allows_model("anything")

    def test_it_ends_at_its_expiry(self, alice: User, home: Workspace) -> None:
        end = timezone.now() + timedelta(hours=1)
        record = found(made(alice, home, expires_at=end)[1])
        assert not record.expired(now=end - timedelta(seconds=1))
        assert record.expired(now=end)

    def test_it_finds_its_workspaces_by_both_ids(self, alice: User, away: Workspace) -> None:
        acme = workspaces.create(owner=alice, name="Acme", external_id="acme")
        record = found(made(alice, acme)[1])
        for text in ("acme", acme.public_id):
            workspace = record.workspace(text)
            assert workspace is not None
            assert workspace.id == acme.pk
        assert record.workspace(away.public_id) is None
        assert record.workspace("") is None
