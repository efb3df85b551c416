from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connection, transaction
from django.test import AsyncClient, Client
from django.urls import URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts import impersonation, keys, members
from accounts.models import ApiKey, AuditEvent, Impersonation, User, Workspace
from tests import pages, staffing

pytestmark = pytest.mark.django_db
REASON = "They see no charges"


@pytest.fixture
def carl(alice: User) -> User:
    """The customer."""
    return alice


@pytest.fixture
def anna() -> User:
    return staffing.member("anna@example.com", group="support")


@pytest.fixture
def desk(client: Client, anna: User) -> Client:
    return staffing.sign_in(client, anna)


def look(desk: Client, customer: User, reason: str = REASON) -> Any:
    url = reverse("admin:accounts_user_impersonate", args=[customer.pk])
    return desk.post(url, {"reason": reason})


def allowed(page: Any) -> bool:
    return bool(page.status_code != 403)


class TestStart:
    def test_staff_see_the_dashboard_as_the_customer(self, desk: Client, carl: User) -> None:
        assert look(desk, carl)["Location"] == "/dashboard"
        page = desk.get("/dashboard/settings")
        assert page.context["user"] == carl
        assert page.context["seat"].workspace == Workspace.objects.get(personal_of=carl)

    def test_a_reason_is_required(self, desk: Client, carl: User) -> None:
        assert look(desk, carl, " ").status_code == 422
        assert not Impersonation.objects.exists()

    def test_staff_are_not_looked_as(self, desk: Client) -> None:
        for other in (
            staffing.member("bert@example.com", group="viewer"),
            staffing.member("root@example.com", superuser=True),
        ):
            assert look(desk, other).status_code == 422
        assert not Impersonation.objects.exists()

    def test_closed_accounts_are_not_looked_as(self, desk: Client, carl: User) -> None:
        User.objects.filter(pk=carl.pk).update(is_active=False)
        look(desk, carl)
        assert not Impersonation.objects.exists()

    @pytest.mark.parametrize("group", ["viewer", "billing", "catalogue"])
    def test_it_takes_a_right(self, carl: User, group: str) -> None:
        browser = staffing.sign_in(Client(), staffing.member("x@example.com", group=group))
        assert look(browser, carl).status_code == 403
        assert not Impersonation.objects.exists()

    def test_it_is_written_down_where_the_customer_reads_it(
        self, desk: Client, anna: User, carl: User
    ) -> None:
        look(desk, carl)
        event = AuditEvent.objects.get(action="impersonation.started")
        assert (event.user, event.actor, event.target) == (anna, "staff", carl.public_id)
        assert (event.after or {})["reason"] == REASON
        assert event.workspace == Workspace.objects.get(personal_of=carl)

    def test_one_at_a_time(self, desk: Client, carl: User, bob: User) -> None:
        look(desk, carl)
        look(desk, bob)
        assert desk.get("/dashboard/settings").context["user"] == bob
        [open_one] = Impersonation.objects.filter(ended_at=None)
        assert open_one.customer == bob


class TestStop:
    def test_the_button_ends_it(self, desk: Client, anna: User, carl: User) -> None:
        look(desk, carl)
        answer = desk.post(reverse("impersonation_stop"))
        assert answer["Location"] == reverse("admin:accounts_user_change", args=[carl.pk])
        assert AuditEvent.objects.filter(action="impersonation.stopped", user=anna).exists()
        assert desk.get("/admin/").context["user"] == anna
        assert Impersonation.objects.get().ended_at is not None

    def test_without_anything_to_stop_nothing_happens(self, desk: Client) -> None:
        assert desk.post(reverse("impersonation_stop")).status_code == 302

    def test_the_admin_site_knows_staff_as_themselves(
        self, desk: Client, anna: User, carl: User
    ) -> None:
        look(desk, carl)
        assert desk.get("/admin/").context["user"] == anna


class TestCurrent:
    def test_its_time_is_limited(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        later = timezone.now() + timedelta(minutes=31)
        with connection.cursor() as cursor:
            cursor.execute("set local session_replication_role = replica")
            cursor.execute(
                "update accounts_impersonation set expires_at = now() - interval '1 second'"
            )
            cursor.execute("set local session_replication_role = origin")
        answer = desk.get("/dashboard")
        assert answer["Location"] == "/admin/"
        assert Impersonation.objects.get().ended_at is not None
        assert impersonation.end_overdue(now=later) == 0

    def test_whoever_loses_the_right_looks_no_more(
        self, desk: Client, anna: User, carl: User
    ) -> None:
        look(desk, carl)
        anna.groups.clear()
        assert desk.get("/dashboard")["Location"] == "/admin/"

    def test_a_customer_who_becomes_staff_is_looked_as_no_more(
        self, desk: Client, carl: User
    ) -> None:
        look(desk, carl)
        User.objects.filter(pk=carl.pk).update(is_staff=True)
        assert desk.get("/dashboard")["Location"] == "/admin/"

    def test_no_other_session_has_it(self, desk: Client, anna: User, carl: User) -> None:
        look(desk, carl)
        other = staffing.sign_in(Client(), anna)
        assert other.get("/dashboard/settings").context["user"] == anna

    def test_what_nobody_stopped_is_ended(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        assert impersonation.end_overdue(now=timezone.now()) == 0
        assert impersonation.end_overdue(now=timezone.now() + timedelta(minutes=31)) == 1
        assert AuditEvent.objects.filter(action="impersonation.stopped").count() == 1


VALUES = {"pk": 1, "uidb36": "1"}


def pages_by_name(patterns: Any, captured: frozenset[str] = frozenset()) -> dict[str, str]:
    """An address of every page that has a name, the admin site's and the API's apart."""
    found: dict[str, str] = {}
    for pattern in patterns:
        caught = captured | set(pattern.pattern.regex.groupindex)
        if isinstance(pattern, URLResolver):
            if pattern.namespace is None and not str(pattern.pattern).startswith("api/"):
                found |= pages_by_name(pattern.url_patterns, frozenset(caught))
        elif pattern.name:
            public_id = "key_x" if pattern.name.startswith("key") else "x"
            values = {each: VALUES.get(each, public_id) for each in caught}
            found[pattern.name] = reverse(pattern.name, kwargs=values)
    return found


class TestIsOpen:
    def test_every_page_is_on_the_list_or_shut(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        known = pages_by_name(get_resolver().url_patterns)
        assert len(known) > 60
        assert set(known) >= impersonation.SEEN | impersonation.DONE
        for name, url in known.items():
            assert allowed(desk.get(url)) == (name in impersonation.SEEN), name
            if name not in impersonation.DONE:
                assert not allowed(desk.post(url)), name
            assert not allowed(desk.delete(url)), name

    @pytest.mark.parametrize(
        "name",
        [
            *("key_create", "key_rotate", "key_delete", "key_enable", "playground_key"),
            *("top_up_new", "auto_top_up", "card_save", "crypto_convert", "crypto_address"),
            *("account_change_password", "mfa_activate_totp", "mfa_deactivate_totp"),
            *("mfa_view_recovery_codes", "usersessions_list", "account_email", "account_delete"),
            *("personal_record", "webhook_rotate", "invite", "member_role", "account_logout"),
        ],
    )
    def test_secrets_money_and_safety_are_shut(self, name: str) -> None:
        assert name not in impersonation.SEEN | impersonation.DONE

    def test_the_api_is_shut(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        for method in ("GET", "POST"):
            answer = desk.generic(method, "/api/v1/keys")
            assert (answer.status_code, "looking" in answer.json()["error"]["message"]) == (
                403,
                True,
            )

    def test_no_key_is_made(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        desk.post("/dashboard/keys/new", {"name": "mine", "scopes": ["chat"]})
        desk.post("/dashboard/playground/key")
        assert not ApiKey.objects.filter(user=carl).exists()

    def test_pages_of_keys_offer_nothing_of_what_is_shut(self, desk: Client, carl: User) -> None:
        workspace = Workspace.objects.get(personal_of=carl)
        look(desk, carl)
        empty = desk.get("/dashboard/keys").content.decode()
        soon = timezone.now() + timedelta(days=1)
        terms: dict[str, Any] = {"user": carl, "scopes": ["chat"], "by": carl}
        on, _ = keys.create(name="on", workspaces=[workspace], expires_at=soon, **terms)
        off, _ = keys.create(name="off", workspaces=[workspace], **terms)
        keys.disable(key=off, by=carl)
        addresses = ["/dashboard/keys", *(reverse("key", args=[k.public_id]) for k in (on, off))]
        addresses.append("/dashboard")
        own = "".join(pages.browser(carl).get(each).content.decode() for each in addresses)
        theirs = empty + "".join(desk.get(each).content.decode() for each in addresses)
        acts = ("new-key", "enable-key", "disable-key", "rotate-key", "delete-key")
        for each in (*(f'data-testid="{act}"' for act in acts), "Rotate it"):
            assert each in own, each
            assert each not in theirs, each
        assert 'data-testid="no-keys"' in empty
        assert reverse("key_create") not in theirs
        assert "See the key" in theirs

    def test_every_page_has_the_banner_with_the_button(
        self, desk: Client, anna: User, carl: User
    ) -> None:
        workspace = Workspace.objects.get(personal_of=carl)
        key, _ = keys.create(name="k", workspaces=[workspace], user=carl, scopes=["chat"], by=carl)
        look(desk, carl)
        known = pages_by_name(get_resolver().url_patterns)
        known["key"] = reverse("key", args=[key.public_id])
        shown = set()
        for name in impersonation.SEEN:
            answer = desk.get(known[name])
            page = b"".join(answer) if answer.streaming else answer.content
            if answer.status_code == 200 and b"<html" in page:
                shown.add(name)
                assert b'data-testid="impersonation-stop"' in page, name
                assert anna.email.encode() in page, name
        assert shown >= {"overview", "usage", "logs", "key", "billing", "limits", "team", "landing"}

    def test_so_has_what_is_shut(self, desk: Client, carl: User) -> None:
        look(desk, carl)
        shut = desk.get(reverse("playground")).content.decode()
        assert "Not while you look as a customer" in shut
        assert 'data-testid="impersonation-stop"' in shut
        assert re.search(r'name="csrfmiddlewaretoken" value="\w{64}"', shut)


class TestWrites:
    def test_what_is_set_right_names_both(self, desk: Client, anna: User, carl: User) -> None:
        look(desk, carl)
        desk.post("/dashboard/settings/workspace", {"name": "Corrected"})
        event = AuditEvent.objects.get(action="workspace.renamed")
        assert (event.user, event.actor, event.impersonator) == (carl, "user", anna)

    def test_in_the_way_of_the_real_server_too(self, desk: Client, anna: User, carl: User) -> None:
        look(desk, carl)
        browser = AsyncClient()
        browser.cookies = desk.cookies
        send = async_to_sync(browser.post)
        assert async_to_sync(browser.get)("/dashboard/settings").context["user"] == carl
        send("/dashboard/settings/workspace", {"name": "Corrected"})
        desk.post(reverse("impersonation_stop"))
        client = AsyncClient()
        client.force_login(carl)
        async_to_sync(client.post)("/dashboard/settings/workspace", {"name": "Own"})
        events = AuditEvent.objects.filter(action="workspace.renamed").order_by("pk")
        assert [event.impersonator for event in events] == [anna, None]

    def test_elsewhere_nobody_else_is_named(self, carl: User) -> None:
        pages.browser(carl).post("/dashboard/settings/workspace", {"name": "Own"})
        assert AuditEvent.objects.get(action="workspace.renamed").impersonator is None

    def test_only_their_workspaces_are_seen(self, desk: Client, carl: User, bob: User) -> None:
        shared = Workspace.objects.get(personal_of=bob)
        members.add(workspace=shared, user=carl, role="viewer", by=None)
        look(desk, carl)
        desk.post("/dashboard/workspace", {"workspace": shared.public_id})
        assert desk.get("/dashboard/settings").context["seat"].workspace == shared
        desk.post("/dashboard/settings/workspace", {"name": "Not theirs to name"})
        assert not AuditEvent.objects.filter(action="workspace.renamed").exists()


class TestTable:
    @pytest.mark.parametrize(
        "statement",
        [
            "update accounts_impersonation set reason = 'x'",
            "update accounts_impersonation set expires_at = now() + interval '1 day'",
            "delete from accounts_impersonation",
            "truncate accounts_impersonation cascade",
        ],
    )
    def test_looks_are_kept(self, desk: Client, carl: User, statement: str) -> None:
        look(desk, carl)
        with connection.cursor() as cursor:
            cursor.execute("set constraints all immediate")
            with pytest.raises(IntegrityError), transaction.atomic():
                cursor.execute(statement)
