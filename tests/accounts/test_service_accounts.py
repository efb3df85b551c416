from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts import keyrecord, keys, service_accounts
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, Missing
from accounts.models import ServiceAccount, User, Workspace

Join = Callable[[User, Workspace, str], None]


@pytest.fixture
def bot(alice: User, home: Workspace) -> ServiceAccount:
    return service_accounts.create(workspace=home, name="bot", role="developer", by=alice)


class TestCreate:
    def test_a_name_is_taken_once_per_workspace(
        self, alice: User, bob: User, home: Workspace, away: Workspace, bot: ServiceAccount
    ) -> None:
        with pytest.raises(Invalid, match="already"):
            service_accounts.create(workspace=home, name="bot", role="viewer", by=alice)
        assert service_accounts.create(workspace=away, name="bot", role="viewer", by=bob)

    def test_it_never_owns(self, alice: User, home: Workspace) -> None:
        with pytest.raises(Invalid, match="never owns"):
            service_accounts.create(workspace=home, name="x", role="owner", by=alice)

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer"])
    def test_it_is_for_who_manages_members(
        self, bob: User, home: Workspace, join: Join, role: str
    ) -> None:
        with pytest.raises(ForeignWorkspace):
            service_accounts.create(workspace=home, name="x", role="viewer", by=bob)
        join(bob, home, role)
        with pytest.raises(Forbidden):
            service_accounts.create(workspace=home, name="x", role="viewer", by=bob)


class TestNamed:
    def test_it_stays_in_its_workspace(
        self, home: Workspace, away: Workspace, bot: ServiceAccount
    ) -> None:
        assert service_accounts.named(workspace=home, name="bot") == bot
        with pytest.raises(Missing):
            service_accounts.named(workspace=away, name="bot")


class TestDisable:
    def test_its_keys_follow_at_once(
        self, alice: User, home: Workspace, bot: ServiceAccount
    ) -> None:
        key, text = keys.create(
            name="k", workspaces=[home], service_account=bot, scopes=["chat"], by=alice
        )
        service_accounts.disable(account=bot, by=alice)
        stopped = keyrecord.find(text=text)
        service_accounts.enable(account=bot, by=alice)
        running = keyrecord.find(text=text)
        assert stopped is not None
        assert running is not None
        assert (stopped.owner_active, running.owner_active) == (False, True)
        assert key.version < stopped.version < running.version

    def test_a_stranger_may_not(self, bob: User, bot: ServiceAccount) -> None:
        for change in (service_accounts.disable, service_accounts.enable):
            with pytest.raises(ForeignWorkspace):
                change(account=bot, by=bob)


class TestChangeRole:
    def test_its_keys_follow_at_once(
        self, alice: User, home: Workspace, bot: ServiceAccount
    ) -> None:
        _, text = keys.create(
            name="k", workspaces=[home], service_account=bot, scopes=["chat"], by=alice
        )
        service_accounts.change_role(account=bot, role="viewer", by=alice)
        record = keyrecord.find(text=text)
        assert record is not None
        assert record.workspaces[0].scopes == frozenset()

    def test_it_becomes_no_owner(self, alice: User, bot: ServiceAccount) -> None:
        with pytest.raises(Invalid):
            service_accounts.change_role(account=bot, role="owner", by=alice)
