"""Rules that the database keeps by itself, whatever the code above it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from accounts import keys, service_accounts, workspaces
from accounts.models import (
    ApiKey,
    ApiKeyWorkspace,
    Membership,
    SecretFingerprint,
    ServiceAccount,
    Tier,
    User,
    Workspace,
)

Join = Callable[[User, Workspace, str], None]


def version(key: ApiKey) -> int:
    return ApiKey.objects.values_list("version", flat=True).get(pk=key.pk)


@pytest.fixture
def other(bob: User, away: Workspace) -> ApiKey:
    """A key that no change around alice's key may touch."""
    return keys.create(name="o", workspaces=[away], user=bob, scopes=["chat"], by=bob)[0]


class TestUser:
    def test_an_address_is_lower_case(self, db: None) -> None:
        assert User.objects.create_user("Carol@Example.COM").email == "carol@example.com"
        with pytest.raises(IntegrityError):
            User.objects.update(email="CAROL@example.com")

    def test_sign_in_takes_any_capitals(self, alice: User) -> None:
        assert User.objects.get_by_natural_key("ALICE@example.com") == alice

    def test_a_superuser_may_use_the_admin_site(self, db: None) -> None:
        user = User.objects.create_superuser("root@example.com", "pw")
        assert user.is_staff
        assert user.is_superuser

    def test_an_address_is_needed(self, db: None) -> None:
        with pytest.raises(ValueError, match="email"):
            User.objects.create_user("")

    def test_names_fall_back_to_the_address(self, alice: User) -> None:
        assert (alice.get_short_name(), alice.get_full_name()) == ("alice", "alice@example.com")


class TestTier:
    @pytest.mark.parametrize(
        "values",
        [
            {"is_default": True},
            {"default_rpm": 11},
            {"max_daily_nanos": 5, "default_daily_nanos": 6},
            {"max_daily_nanos": 5, "default_daily_nanos": None},
            {"max_monthly_nanos": 5, "default_monthly_nanos": 6},
            {"default_daily_nanos": -1},
            {"min_paid_nanos": -1},
        ],
    )
    @pytest.mark.django_db
    def test_defaults_lie_within_maximums(self, values: dict[str, Any]) -> None:
        fine: dict[str, Any] = {"slug": "x", "name": "X", "default_rpm": 10, "max_rpm": 10}
        with pytest.raises(IntegrityError), transaction.atomic():
            Tier.objects.create(**(fine | values))
        assert Tier.objects.create(**fine)


class TestMembership:
    def test_it_never_moves(self, alice: User, bob: User, home: Workspace, away: Workspace) -> None:
        for change in ({"user": bob}, {"workspace": away}):
            with pytest.raises(DatabaseError, match="never move"), transaction.atomic():
                Membership.objects.filter(user=alice).update(**change)

    def test_only_known_roles(self, alice: User) -> None:
        with pytest.raises(IntegrityError):
            Membership.objects.filter(user=alice).update(role="king")


class TestApiKey:
    def test_any_update_raises_the_version_by_one(self, key: ApiKey) -> None:
        before = version(key)
        ApiKey.objects.filter(pk=key.pk).update(name="x")
        ApiKey.objects.filter(pk=key.pk).update(version=1)
        assert version(key) == before + 2

    def test_it_has_exactly_one_owner(self, key: ApiKey, alice: User, home: Workspace) -> None:
        bot = service_accounts.create(workspace=home, name="b", role="viewer", by=alice)
        values = ApiKey.objects.filter(pk=key.pk).values().get()
        for user, account in ((alice.pk, bot.pk), (None, None)):
            row = values | {"id": None, "user_id": user, "service_account_id": account}
            row |= {"public_id": "key_x", "digest": b"x"}
            with pytest.raises(IntegrityError, match="exactly_one_owner"), transaction.atomic():
                ApiKey.objects.create(**row)

    @pytest.mark.parametrize("scopes", [[], ["root"], ["chat", "keys:manage"]])
    def test_impossible_scopes_are_refused(self, key: ApiKey, scopes: list[str]) -> None:
        with pytest.raises(IntegrityError):
            ApiKey.objects.filter(pk=key.pk).update(scopes=scopes)

    def test_it_never_changes_hands_or_secret(self, key: ApiKey, bob: User) -> None:
        for change in ({"user": bob}, {"digest": b"x" * 32}, {"public_id": "key_other"}):
            with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
                ApiKey.objects.filter(pk=key.pk).update(**change)

    def test_it_stays_deleted(self, key: ApiKey) -> None:
        ApiKey.objects.filter(pk=key.pk).update(deleted_at=timezone.now())
        with pytest.raises(DatabaseError, match="stays deleted"):
            ApiKey.objects.filter(pk=key.pk).update(deleted_at=None)

    def test_a_secret_is_stored_once(self, key: ApiKey, other: ApiKey) -> None:
        row = ApiKey.objects.filter(pk=key.pk).values().get()
        with pytest.raises(IntegrityError, match="digest"):
            ApiKey.objects.create(**(row | {"id": None, "public_id": "key_x"}))


class TestApiKeyWorkspace:
    def test_it_raises_the_keys_version(self, key: ApiKey, other: ApiKey, alice: User) -> None:
        before, untouched = version(key), version(other)
        acme = workspaces.create(owner=alice, name="Acme")
        ApiKeyWorkspace.objects.create(key=key, workspace=acme)
        assert version(key) == before + 1
        ApiKeyWorkspace.objects.filter(workspace=acme).delete()
        assert version(key) == before + 2
        assert version(other) == untouched

    def test_a_workspace_where_the_owner_is_no_member_is_refused(
        self, key: ApiKey, away: Workspace
    ) -> None:
        with pytest.raises(DatabaseError, match="no role"), transaction.atomic():
            ApiKeyWorkspace.objects.create(key=key, workspace=away)
        with pytest.raises(DatabaseError, match="no role"), transaction.atomic():
            ApiKeyWorkspace.objects.filter(key=key).update(workspace=away)

    def test_a_service_account_stays_in_its_own(self, alice: User, home: Workspace) -> None:
        bot = service_accounts.create(workspace=home, name="b", role="viewer", by=alice)
        key, _ = keys.create(
            name="k", workspaces=[home], service_account=bot, scopes=["usage:read"], by=alice
        )
        acme = workspaces.create(owner=alice, name="Acme")
        with pytest.raises(DatabaseError, match="no role"):
            ApiKeyWorkspace.objects.create(key=key, workspace=acme)


class TestVersion:
    """Everything that changes what a key may do raises its version, and no other key's."""

    @pytest.mark.parametrize(
        ("model", "change"),
        [
            (Membership, {"role": "viewer"}),
            (User, {"is_active": False}),
            (Workspace, {"closed_at": timezone.now()}),
            (Workspace, {"external_id": "x"}),
        ],
    )
    def test_a_change_around_it_counts(
        self,
        key: ApiKey,
        other: ApiKey,
        alice: User,
        home: Workspace,
        model: Any,
        change: dict[str, Any],
    ) -> None:
        before, untouched = version(key), version(other)
        wanted = {User: {"pk": alice.pk}, Workspace: {"pk": home.pk}}
        rows = model.objects.filter(**wanted.get(model, {"user": alice}))
        rows.update(**change)
        assert version(key) == before + 1
        rows.update(**change)
        assert (version(key), version(other)) == (before + 1, untouched)

    def test_a_sign_in_does_not_count(self, key: ApiKey, alice: User) -> None:
        before = version(key)
        User.objects.filter(pk=alice.pk).update(last_login=timezone.now(), name="Alice")
        assert version(key) == before

    def test_staff_have_disabled_only_what_is_disabled(self, key: ApiKey) -> None:
        rows = ApiKey.objects.filter(pk=key.pk)
        with pytest.raises(IntegrityError, match="staff_disabled"), transaction.atomic():
            rows.update(disabled_by_staff=True)
        rows.update(disabled_by_staff=True, disabled_at=timezone.now())
        with pytest.raises(IntegrityError, match="staff_disabled"), transaction.atomic():
            rows.update(disabled_at=None)

    def test_another_tier_or_rate_counts(self, key: ApiKey, home: Workspace) -> None:
        before = version(key)
        high = Tier.objects.create(slug="high", name="High", default_rpm=600, max_rpm=6000)
        Workspace.objects.filter(pk=home.pk).update(tier=high)
        assert version(key) == before + 1
        Tier.objects.filter(pk=high.pk).update(default_rpm=700)
        assert version(key) == before + 2
        Tier.objects.filter(pk=high.pk).update(name="Higher")
        assert version(key) == before + 2

    def test_a_service_accounts_standing_counts(self, alice: User, home: Workspace) -> None:
        bot = service_accounts.create(workspace=home, name="b", role="developer", by=alice)
        key, _ = keys.create(
            name="k", workspaces=[home], service_account=bot, scopes=["chat"], by=alice
        )
        before = version(key)
        rows = ServiceAccount.objects.filter(pk=bot.pk)
        rows.update(role="viewer")
        rows.update(disabled_at=timezone.now())
        rows.update(name="robot")
        assert version(key) == before + 2
        acme = workspaces.create(owner=alice, name="Acme")
        with pytest.raises(DatabaseError, match="never move"):
            rows.update(workspace=acme)

    def test_a_removed_membership_takes_the_workspace_from_its_keys(
        self, key: ApiKey, other: ApiKey, alice: User, home: Workspace
    ) -> None:
        before, untouched = version(key), version(other)
        Membership.objects.filter(user=alice, workspace=home).delete()
        assert not ApiKeyWorkspace.objects.filter(key=key).exists()
        assert version(key) == before + 1
        assert version(other) == untouched
        assert ApiKeyWorkspace.objects.filter(key=other).exists()


class TestSecretFingerprint:
    def test_there_is_one_row(self, db: None) -> None:
        with pytest.raises(IntegrityError):
            SecretFingerprint.objects.create(id=2, pepper_id="p", fingerprint=b"x")
