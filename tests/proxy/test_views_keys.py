"""The keys' pages."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import keys, members, scopes, workspaces
from accounts.actors import Staff
from accounts.models import ApiKey, Membership, ServiceAccount, User, Workspace
from billing import limits
from proxy import views_keys
from tests import pages

pytestmark = pytest.mark.django_db
ACTIONS = ["disable", "enable", "rotate", "delete"]
OVERLAP = {"overlap": "0"}


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def bob() -> User:
    return pages.person("bob")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def form(workspace: Workspace, **fields: object) -> dict[str, object]:
    """What the browser sends for a simple key."""
    return {"name": "Server", "scopes": ["chat"], "workspaces": [workspace.public_id]} | fields


def offered(page: str) -> set[str]:
    """What a page has to click or read, by its test ids."""
    return set(re.findall(r'data-testid="([^"]+)"', page))


def secret_on(page: bytes) -> str:
    """The key that a page shows."""
    found = re.search(rb'data-testid="secret">([^<]+)<', page)
    assert found is not None, "no key on the page"
    return found[1].decode()


class TestKeyList:
    def test_an_empty_list_says_what_a_key_is_and_how_to_make_one(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/keys").content.decode()

        assert 'data-testid="no-keys"' in page
        assert 'href="/dashboard/keys/new"' in page

    def test_someone_not_verified_is_sent_to_the_mailbox(self) -> None:
        stranger = pages.person("new", verified=False)

        page = pages.browser(stranger).get("/dashboard/keys").content.decode()

        assert 'href="/dashboard/keys/new"' not in page

    def test_a_key_is_shown_by_prefix_and_last_four_only(self, alice: User) -> None:
        key, secret = keys.create(
            name="Server", workspaces=[pages.home(alice)], user=alice, by=alice, scopes=["chat"]
        )

        page = pages.browser(alice).get("/dashboard/keys").content.decode()

        assert key.hint in page
        assert secret not in page

    def test_many_keys_are_pages(self, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(views_keys, "KEYS_SHOWN", 2)
        for number in range(5):
            pages.make_key(alice, name=f"number {number}")
        found, path = [], "/dashboard/keys"
        while path:
            page = pages.browser(alice).get(path).content.decode()
            found.append(set(re.findall(r"number \d", page)))
            older = re.search(r'href="([^"]+)" data-testid="older-keys"', page)
            path = older[1] if older else ""

        assert found == [{"number 4", "number 3"}, {"number 2", "number 1"}, {"number 0"}]
        assert pages.browser(alice).get("/dashboard/keys?cursor=junk").status_code == 400

    def test_keys_of_another_workspace_are_not_listed(self, alice: User, bob: User) -> None:
        pages.make_key(bob, name="Bob's own")

        assert "Bob" not in pages.browser(alice).get("/dashboard/keys").content.decode()

    def test_a_deleted_key_is_not_listed(self, alice: User) -> None:
        keys.delete(key=pages.make_key(alice, name="Gone"), by=alice)

        assert "Gone" not in pages.browser(alice).get("/dashboard/keys").content.decode()

    def test_an_expired_key_is_called_so(self, alice: User) -> None:
        key = pages.make_key(alice)
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())

        assert "expired" in pages.browser(alice).get("/dashboard/keys").content.decode()

    def test_the_name_of_a_workspace_of_strangers_is_not_told(
        self, alice: User, bob: User, home: Workspace
    ) -> None:
        members.add(workspace=home, user=bob, role="developer", by=alice)
        secret = workspaces.create(name="Project Secret", owner=bob)
        keys.create(name="k", workspaces=[home, secret], user=bob, by=bob, scopes=["chat"])

        page = pages.browser(alice).get("/dashboard/keys").content.decode()

        assert "1 more" in page
        assert "Project Secret" not in page

    @pytest.mark.parametrize("odd", ["%00", "key_%00", "..", "key_"])
    def test_an_odd_address_is_not_found(self, alice: User, odd: str) -> None:
        assert pages.browser(alice).get(f"/dashboard/keys/{odd}").status_code == 404


class TestCreate:
    def test_the_key_is_shown_once_and_works(self, alice: User, home: Workspace) -> None:
        browser = pages.browser(alice)

        answer = browser.post("/dashboard/keys/new", form(home))

        secret = secret_on(answer.content)
        found = keys.find(text=secret)
        assert found is not None
        assert found.scopes == frozenset({"chat"})
        assert answer["Cache-Control"] == "no-store"
        for path in ("/dashboard/keys", f"/dashboard/keys/{found.public_id}", "/dashboard"):
            assert secret not in browser.get(path).content.decode()

    def test_scopes_are_offered_in_groups_with_a_few_words_each(self, alice: User) -> None:
        page = pages.browser(alice).get("/dashboard/keys/new").content.decode()

        groups = page.split('id="id_scopes"')[1].split('role="group"')[1:]
        offered = [re.findall(r'name="scopes" value="([^"]+)"', group) for group in groups]
        assert [set(group) for group in offered[:2]] == [scopes.INFERENCE, scopes.EITHER]
        assert set(offered[2]) == scopes.MANAGEMENT
        assert "webhooks:manage: webhooks" in groups[2]
        assert len(re.findall(r'name="scopes"[^>]* checked', page)) == 4

    def test_limits_and_expiry_are_kept(self, alice: User, home: Workspace) -> None:
        terms = {
            "rpm": "7",
            "tpm": "9000",
            "max_streams": "3",
            "daily_usd": "1.50",
            "monthly_usd": "20",
            "models": "a/b\nc/d",
            "ips": "10.0.0.1, 10.1.0.0/16",
            "expires": "30",
        }

        answer = pages.browser(alice).post("/dashboard/keys/new", form(home, **terms))

        assert answer.status_code == 200
        key = ApiKey.objects.get()
        assert (key.rpm, key.models) == (7, ["a/b", "c/d"])
        assert (key.tpm, key.max_streams) == (9000, 3)
        facts = pages.browser(alice).get(f"/dashboard/keys/{key.public_id}").content.decode()
        assert "9,000 per minute" in facts
        assert "Streams at once" in facts
        assert key.ips == ["10.0.0.1/32", "10.1.0.0/16"]
        assert limits.key_caps(key=key) == (1_500_000_000, 20 * 10**9)
        assert key.expires_at is not None
        assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)

    def test_limits_left_empty_are_the_tiers(self, alice: User, home: Workspace) -> None:
        pages.browser(alice).post("/dashboard/keys/new", form(home))

        tier = home.tier
        expected = (tier.default_daily_nanos, tier.default_monthly_nanos)
        assert limits.key_caps(key=ApiKey.objects.get()) == expected

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": ""},
            {"scopes": []},
            {"scopes": ["chat", "keys:manage"]},
            {"scopes": ["root"]},
            {"workspaces": []},
            {"rpm": "-1"},
            {"tpm": "-1"},
            {"tpm": "many"},
            {"max_streams": "1000000000"},
            {"rpm": "1000000000"},
            {"daily_usd": "-1"},
            {"daily_usd": "1e3000"},
            {"daily_usd": "0.0000000001"},
            {"daily_usd": "nan"},
            {"monthly_usd": "99999999"},
            {"ips": "somewhere"},
            {"models": "not$a$slug"},
            {"expires": "0"},
        ],
    )
    def test_a_wrong_value_is_explained_and_makes_no_key(
        self, alice: User, home: Workspace, wrong: dict[str, object]
    ) -> None:
        answer = pages.browser(alice).post("/dashboard/keys/new", form(home, **wrong))

        assert answer.status_code == 400
        assert b"errorlist" in answer.content
        assert not ApiKey.objects.exists()

    def test_a_workspace_of_others_cannot_be_put_on_a_key(
        self, alice: User, bob: User, home: Workspace
    ) -> None:
        both = [home.public_id, pages.home(bob).public_id]

        answer = pages.browser(alice).post("/dashboard/keys/new", form(home, workspaces=both))

        assert answer.status_code == 400
        assert not ApiKey.objects.exists()

    def test_someone_not_verified_may_look_but_not_create(self) -> None:
        stranger = pages.person("new", verified=False)
        browser = pages.browser(stranger)

        answer = browser.post("/dashboard/keys/new", form(pages.home(stranger)))

        assert answer.status_code == 403
        assert not ApiKey.objects.exists()

    @pytest.mark.parametrize("role", ["viewer", "billing"])
    @pytest.mark.parametrize("scopes", [["chat"], ["usage:read"]])
    def test_who_calls_no_models_makes_no_key(
        self, alice: User, bob: User, home: Workspace, role: str, scopes: list[str]
    ) -> None:
        members.add(workspace=home, user=bob, role=role, by=alice)
        browser = pages.browser(bob, workspace=home)

        answer = browser.post("/dashboard/keys/new", form(home, scopes=scopes))
        listed = browser.get("/dashboard/keys").content.decode()

        assert answer.status_code == 403
        assert not ApiKey.objects.exists()
        assert "/dashboard/keys/new" not in listed
        told = "Keys are not shown to your role" if role == "billing" else "Ask an owner or admin"
        assert told in listed

    def test_a_key_of_ones_own_is_shown_to_billing_people_and_is_not_offered_to_be_rotated(
        self, alice: User, bob: User, home: Workspace
    ) -> None:
        members.add(workspace=home, user=bob, role="developer", by=alice)
        key = pages.make_key(bob, home, name="From before")
        Membership.objects.filter(workspace=home, user=bob).update(role="billing")
        browser = pages.browser(bob, workspace=home)

        listed = browser.get("/dashboard/keys").content.decode()
        detail = browser.get(f"/dashboard/keys/{key.public_id}").content.decode()

        assert "From before" in listed
        assert 'data-testid="disable-key"' in detail
        assert 'data-testid="rotate-key"' not in detail
        wanted = {"overlap": "0"}
        answer = browser.post(f"/dashboard/keys/{key.public_id}/rotate", wanted)
        assert answer.status_code == 403

    def test_a_key_in_two_workspaces_stays_within_both_roles(
        self, alice: User, bob: User, home: Workspace
    ) -> None:
        members.add(workspace=home, user=bob, role="viewer", by=alice)
        both = [home.public_id, pages.home(bob).public_id]

        answer = pages.browser(bob).post("/dashboard/keys/new", form(home, workspaces=both))

        assert answer.status_code == 400
        assert "does not include chat" in answer.content.decode()

    def test_who_manages_keys_makes_them_for_service_accounts(
        self, alice: User, home: Workspace
    ) -> None:
        robot = ServiceAccount.objects.create(workspace=home, name="robot", role="developer")

        answer = pages.browser(alice).post("/dashboard/keys/new", form(home, owner=robot.public_id))

        assert answer.status_code == 200
        assert ApiKey.objects.get().service_account == robot

    def test_a_developer_is_not_offered_service_accounts(
        self, alice: User, bob: User, home: Workspace
    ) -> None:
        robot = ServiceAccount.objects.create(workspace=home, name="robot", role="developer")
        members.add(workspace=home, user=bob, role="developer", by=alice)
        browser = pages.browser(bob, workspace=home)

        browser.post("/dashboard/keys/new", form(home, owner=robot.public_id))

        assert not ApiKey.objects.filter(service_account=robot).exists()

    def test_a_form_without_its_token_is_refused(self, alice: User, home: Workspace) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(alice)

        assert browser.post("/dashboard/keys/new", form(home)).status_code == 403
        assert not ApiKey.objects.exists()


class TestForeignKeys:
    def test_the_page_of_a_foreign_key_is_not_found(self, alice: User, bob: User) -> None:
        key = pages.make_key(bob)

        answer = pages.browser(alice).get(f"/dashboard/keys/{key.public_id}")

        assert answer.status_code == 404

    @pytest.mark.parametrize("action", ACTIONS)
    def test_nothing_can_be_done_to_a_foreign_key(
        self, alice: User, bob: User, action: str
    ) -> None:
        key = pages.make_key(bob)
        fields = {"name": key.name, "overlap": "0"}

        answer = pages.browser(alice).post(f"/dashboard/keys/{key.public_id}/{action}", fields)

        assert answer.status_code == 404
        assert ApiKey.objects.get().version == key.version

    @pytest.mark.parametrize("action", ACTIONS)
    def test_a_key_is_only_reached_from_its_own_workspace(self, alice: User, action: str) -> None:
        key = pages.make_key(alice)
        second = workspaces.create(owner=alice, name="Second")
        browser = pages.browser(alice, workspace=second)

        answer = browser.post(f"/dashboard/keys/{key.public_id}/{action}", {"name": key.name})

        assert answer.status_code == 404

    @pytest.mark.parametrize("action", ACTIONS)
    def test_reading_an_address_changes_nothing(self, alice: User, action: str) -> None:
        key = pages.make_key(alice)

        answer = pages.browser(alice).get(f"/dashboard/keys/{key.public_id}/{action}")

        assert answer.status_code == 405

    @pytest.mark.parametrize("action", ["disable", "enable", "delete", "rotate"])
    def test_a_viewer_sees_a_key_and_may_not_touch_it(
        self, alice: User, bob: User, home: Workspace, action: str
    ) -> None:
        key = pages.make_key(alice)
        members.add(workspace=home, user=bob, role="viewer", by=alice)
        browser = pages.browser(bob, workspace=home)

        page = browser.get(f"/dashboard/keys/{key.public_id}")
        answer = browser.post(
            f"/dashboard/keys/{key.public_id}/{action}", {"name": key.name, "overlap": "0"}
        )

        assert page.status_code == 200
        assert b'data-testid="disable-key"' not in page.content
        assert answer.status_code == 403
        assert ApiKey.objects.get().version == key.version


class TestDisable:
    def test_the_next_request_would_be_refused(self, alice: User) -> None:
        key = pages.make_key(alice)

        answer = pages.browser(alice).post(f"/dashboard/keys/{key.public_id}/disable")

        assert answer["Location"] == "/dashboard/keys"
        assert ApiKey.objects.get().disabled_at is not None

    def test_it_can_be_taken_back(self, alice: User) -> None:
        key = keys.disable(key=pages.make_key(alice), by=alice)

        pages.browser(alice).post(f"/dashboard/keys/{key.public_id}/enable", {"back": "key"})

        assert ApiKey.objects.get().disabled_at is None

    def test_what_staff_disabled_is_enabled_by_staff_alone(self, alice: User, bob: User) -> None:
        key = keys.disable(key=pages.make_key(alice), by=Staff(bob))
        browser = pages.browser(alice)
        address = f"/dashboard/keys/{key.public_id}"

        listed, page = (browser.get(url).content.decode() for url in ("/dashboard/keys", address))
        refused = [browser.post(f"{address}/enable"), browser.post(f"{address}/rotate", OVERLAP)]

        for shown in (listed, page):
            assert "Disabled by the operator" in shown
            assert not offered(shown) & {"enable-key", "disable-key", "rotate-key"}
        assert "Ask them to enable it." in page
        assert "delete-key" in offered(page)
        for answer in refused:
            assert answer.status_code == 403
            assert "Ask them to enable it." in answer.content.decode()
        assert ApiKey.objects.get().disabled_at is not None


class TestRotate:
    def test_the_new_key_is_shown_and_the_old_one_ends(self, alice: User) -> None:
        old = pages.make_key(alice)

        answer = pages.browser(alice).post(
            f"/dashboard/keys/{old.public_id}/rotate", {"overlap": "24"}
        )

        new = keys.find(text=secret_on(answer.content))
        assert new is not None
        assert new.id != old.pk
        old.refresh_from_db()
        assert old.expires_at is not None
        assert timedelta(hours=23) < old.expires_at - timezone.now() <= timedelta(hours=24)

    def test_another_overlap_than_those_offered_is_refused(self, alice: User) -> None:
        key = pages.make_key(alice)

        answer = pages.browser(alice).post(
            f"/dashboard/keys/{key.public_id}/rotate", {"overlap": "999999"}
        )

        assert answer.status_code == 400
        assert ApiKey.objects.count() == 1

    def test_a_disabled_key_is_not_rotated(self, alice: User) -> None:
        key = keys.disable(key=pages.make_key(alice), by=alice)

        answer = pages.browser(alice).post(
            f"/dashboard/keys/{key.public_id}/rotate", {"overlap": "0"}
        )

        assert answer.status_code == 400
        assert ApiKey.objects.count() == 1


class TestDelete:
    def test_the_name_has_to_be_typed(self, alice: User) -> None:
        key = pages.make_key(alice, name="Server")

        answer = pages.browser(alice).post(
            f"/dashboard/keys/{key.public_id}/delete", {"name": "server"}
        )

        assert answer.status_code == 400
        assert ApiKey.objects.get().deleted_at is None

    def test_a_deleted_key_is_gone_for_good(self, alice: User) -> None:
        key = pages.make_key(alice, name="Server")
        browser = pages.browser(alice)

        browser.post(f"/dashboard/keys/{key.public_id}/delete", {"name": "Server"})

        assert ApiKey.objects.get().deleted_at is not None
        assert browser.get(f"/dashboard/keys/{key.public_id}").status_code == 404
