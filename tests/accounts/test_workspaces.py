from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts import tiers, workspaces
from accounts.errors import Forbidden, ForeignWorkspace, Invalid, Missing
from accounts.models import Membership, Tier, User, Workspace

Join = Callable[[User, Workspace, str], None]


@pytest.fixture
def acme(alice: User) -> Workspace:
    return workspaces.create(owner=alice, name="Acme", external_id="acme-1")


class TestCreate:
    def test_it_has_an_owner_and_the_default_tier(self, alice: User, acme: Workspace) -> None:
        assert workspaces.role_in(user=alice, workspace=acme) == "owner"
        assert acme.tier == tiers.default()
        assert acme.public_id.startswith("ws_")

    def test_it_tells_the_layers_above(self, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Workspace] = []
        monkeypatch.setattr(workspaces, "on_created", [seen.append])
        workspace = workspaces.create(owner=alice, name="A")
        assert seen == [workspace]

    def test_an_external_id_is_taken_once(self, alice: User, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="taken"):
            workspaces.create(owner=alice, name="Other", external_id="acme-1")

    @pytest.mark.parametrize("text", ["", "ws_mine", "a b", "ä", "x" * 129, "a\n"])
    def test_an_external_id_has_a_form(self, alice: User, text: str) -> None:
        with pytest.raises(Invalid):
            workspaces.create(owner=alice, name="A", external_id=text)

    @pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\u202eb"])
    def test_a_name_has_a_form(self, alice: User, name: str) -> None:
        with pytest.raises(Invalid):
            workspaces.create(owner=alice, name=name)

    def test_spaces_in_a_name_are_tidied(self, alice: User) -> None:
        assert workspaces.create(owner=alice, name="  Acme \n Inc ").name == "Acme Inc"


class TestPersonal:
    def test_a_second_call_finds_the_first(self, alice: User, home: Workspace) -> None:
        assert workspaces.personal(user=alice) == home
        assert Membership.objects.filter(user=alice).count() == 1


class TestResolve:
    def test_both_ids_are_accepted(self, alice: User, acme: Workspace) -> None:
        for text in ("acme-1", acme.public_id):
            assert workspaces.resolve(user=alice, text=text) == acme

    def test_a_stranger_learns_nothing(self, bob: User, acme: Workspace) -> None:
        refusals = []
        for text in (acme.public_id, "acme-1", "ws_none", "", "none"):
            with pytest.raises(ForeignWorkspace) as refusal:
                workspaces.resolve(user=bob, text=text)
            refusals.append(str(refusal.value))
        assert len(set(refusals)) == 1

    def test_a_closed_one_is_not_found(self, alice: User, acme: Workspace) -> None:
        workspaces.close(workspace=acme, by=alice)
        with pytest.raises(ForeignWorkspace):
            workspaces.resolve(user=alice, text="acme-1")


class TestNamed:
    def test_operators_find_any(self, acme: Workspace) -> None:
        assert workspaces.named(text="acme-1") == workspaces.named(text=acme.public_id) == acme

    def test_an_unknown_one_is_named(self, db: None) -> None:
        with pytest.raises(Missing, match="nowhere"):
            workspaces.named(text="nowhere")


class TestRename:
    def test_owners_and_admins_may(
        self, alice: User, bob: User, acme: Workspace, join: Join
    ) -> None:
        join(bob, acme, "admin")
        workspaces.rename(workspace=acme, name="New", by=alice)
        workspaces.rename(workspace=acme, name="Newer", by=bob)
        acme.refresh_from_db()
        assert acme.name == "Newer"

    def test_others_may_not(self, bob: User, acme: Workspace, join: Join) -> None:
        with pytest.raises(ForeignWorkspace):
            workspaces.rename(workspace=acme, name="Mine", by=bob)
        join(bob, acme, "developer")
        with pytest.raises(Forbidden):
            workspaces.rename(workspace=acme, name="Mine", by=bob)


class TestClose:
    def test_only_owners_may(self, bob: User, acme: Workspace, join: Join) -> None:
        join(bob, acme, "admin")
        with pytest.raises(Forbidden, match="owner"):
            workspaces.close(workspace=acme, by=bob)

    def test_a_personal_one_stays(self, alice: User, home: Workspace) -> None:
        with pytest.raises(Invalid, match="personal"):
            workspaces.close(workspace=home, by=alice)

    def test_a_second_time_keeps_the_moment(self, alice: User, acme: Workspace) -> None:
        workspaces.close(workspace=acme, by=alice)
        moment = acme.closed_at
        workspaces.close(workspace=acme, by=alice)
        assert moment is not None
        assert acme.closed_at == moment


class TestMoveToTier:
    def test_the_layers_above_are_told(
        self, acme: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Workspace] = []
        monkeypatch.setattr(workspaces, "on_tier_changed", [seen.append])
        high = Tier.objects.create(slug="high", name="High", default_rpm=600, max_rpm=6000)
        workspaces.move_to_tier(workspace=acme, tier=high)
        acme.refresh_from_db()
        assert (acme.tier, seen) == (high, [acme])
