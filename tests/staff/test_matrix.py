"""
Who of the staff may do what in the admin site: each of its addresses, for each of the groups.

A new address fails until it has its line here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLPattern, reverse

from accounts import staffgroups
from accounts.models import User
from billing.adminsteps import Step
from tests import staffing
from tests.billing.bank import customer

pytestmark = pytest.mark.django_db

ROOT = frozenset({"superuser"})
SUPPORT = ROOT | {"support"}
BILLING = ROOT | {"billing"}
CATALOGUE = ROOT | {"catalogue"}
MONEY = BILLING | SUPPORT
ALL = frozenset({*staffgroups.GROUPS, "superuser"})
NOBODY: frozenset[str] = frozenset()

# Who may add, change, delete. What is not here can be looked at and nothing else.
EDITED = {
    "accounts_user": (ROOT, SUPPORT, NOBODY),
    "accounts_workspace": (NOBODY, SUPPORT, NOBODY),
    "accounts_membership": (ROOT, ROOT, ROOT),
    "accounts_serviceaccount": (ROOT, ROOT, NOBODY),
    "accounts_tier": (ROOT, BILLING, NOBODY),
    "auth_group": (ROOT, ROOT, ROOT),
    "mfa_authenticator": (NOBODY, NOBODY, ROOT),
    "billing_tokenpackage": (BILLING, BILLING, ROOT),
    "proxy_provider": (CATALOGUE, CATALOGUE, NOBODY),
    "proxy_model": (CATALOGUE, CATALOGUE, NOBODY),
    "proxy_modelalias": (CATALOGUE, CATALOGUE, NOBODY),
    "proxy_route": (CATALOGUE, CATALOGUE, NOBODY),
    "proxy_incident": (CATALOGUE, CATALOGUE, NOBODY),
}
# Who may look, where it is not everybody of the staff.
LOOKED = {
    "auth_group": ROOT,
    "account_emailaddress": SUPPORT,
    "mfa_authenticator": SUPPORT,
    "usersessions_usersession": SUPPORT,
}
SEEN = frozenset(
    {
        *("accounts_apikey", "accounts_apikeyworkspace", "accounts_approval"),
        *("accounts_auditevent", "accounts_consent", "accounts_impersonation"),
        *("accounts_invitation", "accounts_keptanswer", "accounts_secretfingerprint"),
        *("accounts_soledecision", "accounts_webhookdelivery", "accounts_webhookendpoint"),
        *("accounts_webhookevent", "billing_account", "billing_alert", "billing_alertpreference"),
        *("billing_autotopup", "billing_chaincursor", "billing_claim", "billing_conversion"),
        *("billing_customer", "billing_deposit", "billing_depositaddress", "billing_extendedkey"),
        *("billing_fundhold", "billing_hold", "billing_keymeter", "billing_ledgercheckpoint"),
        *("billing_lot", "billing_nativebalance", "billing_outflow", "billing_price"),
        *("billing_quote", "billing_refund", "billing_savedcard", "billing_sighting"),
        *("billing_revision", "billing_staffstep", "billing_stripecustomer", "billing_stripeentry"),
        *(
            "billing_stripeevent",
            "billing_suspended",
            "billing_topup",
            "billing_transfer",
            "billing_unlistedtoken",
        ),
        *("billing_usage", "proxy_attempt", "proxy_catalogueversion", "proxy_checkpoint"),
        *("proxy_export", "proxy_exportpiece", "proxy_gatewayprocess", "proxy_generation"),
        *(
            "proxy_idempotencykey",
            "proxy_prompterasure",
            "proxy_promptlog",
            "proxy_providerreport",
            "proxy_taskheartbeat",
            "proxy_trial",
        ),
        "proxy_unknowncall",
    }
)
# Pages of their own. The steps of a row are here with whoever may take them.
OWN = {
    **dict.fromkeys(("index", "app_list", "jsi18n", "autocomplete", "view_on_site"), ALL),
    **dict.fromkeys(("password_change", "password_change_done"), ALL),
    "auth_user_password_change": ROOT,
    "accounts_approval_approve": BILLING,
    "accounts_approval_refuse": BILLING,
    "accounts_user_impersonate": SUPPORT,
    "billing_customer_ledger": ALL,
    "billing_usage_earnings": ALL,
    "proxy_taskheartbeat_books": ALL,
    "billing_customer_grant": BILLING,
    "billing_customer_correct": BILLING,
    "billing_customer_limits": MONEY,
    "billing_customer_freeze": MONEY,
    "billing_customer_unfreeze": MONEY,
    "billing_topup_refund": BILLING,
    "billing_refund_ask": BILLING,
    "billing_claim_release": BILLING,
    "billing_claim_accept": BILLING,
    "billing_deposit_release": BILLING,
    "billing_deposit_reject": BILLING,
    "billing_unlistedtoken_resolve": BILLING,
    "billing_suspended_credit": BILLING,
    "billing_suspended_give_back": BILLING,
    "billing_usage_review": BILLING,
    "billing_alert_end": BILLING,
    "proxy_unknowncall_charge": BILLING,
    "proxy_unknowncall_let_go": BILLING,
    "proxy_model_price": CATALOGUE,
    "proxy_provider_try": CATALOGUE,
    "proxy_providerreport_ask": BILLING,
    "proxy_incident_close": CATALOGUE,
}
# For whoever comes: they lead in and out.
DOORS = {"login", "logout"}
STANDARD = ("changelist", "add", "change", "delete", "history")


def pages() -> Iterator[tuple[str, str]]:
    """The name of every page, and its pattern."""
    for pattern in admin.site.get_urls():
        if isinstance(pattern, URLPattern):
            yield pattern.name or "", str(pattern.pattern)
            continue
        for page in pattern.url_patterns:
            # Without a name: the old address of a row, which leads to the new one.
            if isinstance(page, URLPattern) and page.name:
                yield page.name, str(page.pattern)


def models() -> dict[str, set[str]]:
    """The standard pages of each model."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, _ in pages():
        model, _, action = name.rpartition("_")
        if action in STANDARD and name not in OWN:
            found[model].add(action)
    return found


def steps() -> dict[str, Step]:
    """Every step that can be taken with a row, by the name of its page."""
    return {
        f"{page.opts.app_label}_{page.opts.model_name}_{step.name}": step
        for page in admin.site._registry.values()
        for step in getattr(page, "steps", ())
    }


def looked(model: str) -> frozenset[str]:
    return LOOKED.get(model, ALL)


def somebody(role: str) -> User:
    if role == "superuser":
        return staffing.member("x@example.com", superuser=True)
    return staffing.member("x@example.com", group=role)


def address(name: str) -> str:
    captured: dict[str, dict[str, Any]] = {
        "app_list": {"app_label": "billing"},
        "view_on_site": {"content_type_id": 0, "object_id": 0},
        "auth_user_password_change": {"id": 0},
    }
    if name in captured:
        return reverse(f"admin:{name}", kwargs=captured[name])
    pattern = next(pattern for known, pattern in pages() if known == name)
    return reverse(f"admin:{name}", args=[0] if "<path:object_id>" in pattern else [])


class TestTable:
    def test_every_page_has_its_line(self) -> None:
        names = {name for name, _ in pages() if name}
        assert len(names) > 300
        standard = {f"{model}_{action}" for model in models() for action in STANDARD}
        assert names - standard - DOORS == set(OWN)
        assert set(models()) == SEEN | set(EDITED) | set(LOOKED)

    def test_every_step_takes_the_right_that_those_have_who_may_take_it(self) -> None:
        assert len(steps()) > 10
        for name, step in steps().items():
            may = {role for role in staffgroups.GROUPS if step.permission in rights(role)}
            assert ROOT | may == OWN[name], name


def rights(role: str) -> set[str]:
    permissions = Group.objects.get(name=role).permissions.select_related("content_type")
    return {f"{each.content_type.app_label}.{each.codename}" for each in permissions}


class TestGroups:
    def test_making_them_again_changes_nothing(self) -> None:
        before = {role: rights(role) for role in staffgroups.GROUPS}
        Group.objects.get(name="viewer").permissions.clear()
        assert staffgroups.sync() == list(staffgroups.GROUPS)
        assert {role: rights(role) for role in staffgroups.GROUPS} == before
        assert Group.objects.filter(name__in=staffgroups.GROUPS).count() == len(before)

    def test_nobody_but_superusers_changes_who_is_staff(self) -> None:
        for role in staffgroups.GROUPS:
            assert not {"auth.change_group", "auth.add_group", "accounts.add_user"} & rights(role)

    def test_viewers_can_look_and_nothing_else(self) -> None:
        assert all(".view_" in each for each in rights("viewer"))


class TestMatrix:
    @pytest.mark.parametrize("role", sorted(ALL))
    def test_each_group_reaches_what_its_line_says(self, client: Client, role: str) -> None:
        staffing.sign_in(client, somebody(role))
        wrong = []
        for model in models():
            add, change, delete = EDITED.get(model, (NOBODY, NOBODY, NOBODY))
            asked = {
                # Who may look is told that there is no such filter, which costs no list.
                "changelist": (looked(model), "GET", []),
                "add": (add, "GET", []),
                "change": (change, "POST", [0]),
                "delete": (delete, "POST", [0]),
            }
            for action, (allowed, method, args) in asked.items():
                url = reverse(f"admin:{model}_{action}", args=args)
                answer = client.generic(method, f"{url}?pk__no__such=1")
                if (answer.status_code != 403) != (role in allowed):
                    wrong.append((model, action, answer.status_code))
        assert wrong == []

    @pytest.mark.parametrize("role", sorted(ALL))
    def test_rows_are_looked_at_by_whoever_may_look(self, client: Client, role: str) -> None:
        one = customer(usd=1000, granted=10)
        one.hold(5)
        staffing.sign_in(client, somebody(role))
        for name in ("change", "history"):
            for model in ("billing_account", "billing_transfer", "accounts_workspace"):
                app, _, label = model.partition("_")
                row = apps.get_model(app, label).objects.first()
                url = reverse(f"admin:{model}_{name}", args=[row.pk])
                assert client.get(url).status_code == 200, url

    @pytest.mark.parametrize("role", sorted(ALL))
    def test_pages_of_their_own_too(self, client: Client, role: str) -> None:
        one = customer(usd=1000)
        staffing.sign_in(client, somebody(role))
        for name, allowed in OWN.items():
            if name in steps() and not name.startswith("billing_customer"):
                # Without a row there is nothing to refuse; their rights are looked at above.
                continue
            url = address(name)
            if name.startswith("billing_customer"):
                url = reverse(f"admin:{name}", args=[one.workspace.pk])
            method = "POST" if name.startswith("accounts_approval") else "GET"
            # Nothing to complete: no field was named.
            if name != "autocomplete":
                refused = client.generic(method, url).status_code == 403
                assert refused == (role not in allowed), (name, url)


class TestOutside:
    @pytest.mark.parametrize("who", ["stranger", "customer", "without factor", "unproved"])
    def test_nobody_gets_in(self, client: Client, who: str) -> None:
        if who == "customer":
            client.force_login(User.objects.create_user("c@example.com", "a-long-pass"))
        elif who != "stranger":
            factor = who == "unproved"
            client.force_login(staffing.member("s@example.com", superuser=True, factor=factor))
        for name, pattern in pages():
            if not name or name in DOORS:
                continue
            url = address(name) if name in OWN else standard(name, pattern)
            for method in ("GET", "POST") if name in OWN else ("GET",):
                answer: Any = client.generic(method, url)
                assert answer.status_code == 302, (who, method, url)
                assert answer["Location"].startswith(("/admin/login/?next=", "/accounts/2fa/"))


def standard(name: str, pattern: str) -> str:
    return reverse(f"admin:{name}", args=[0] if "object_id" in pattern else [])
