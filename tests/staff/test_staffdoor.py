from __future__ import annotations

import re
import time

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from tests import staffing

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-pass"
PAGES = ["/admin/", "/admin/accounts/user/", "/dashboard", "/dashboard/keys", "/models", "/status"]


def code(secret: str) -> str:
    """The digits that an app shows now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


@pytest.fixture(autouse=True)
def _codes_last(settings: LazySettings) -> None:
    # Between a code and its use a half minute may begin, which has another one.
    settings.MFA_TOTP_TOLERANCE = 1


@pytest.fixture
def anna() -> User:
    user = staffing.member("anna@example.com", superuser=True, factor=False)
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    return user


def with_factor(user: User) -> str:
    secret = str(generate_totp_secret())
    TOTP.activate(user, secret)
    return secret


class TestStrangersAndCustomers:
    def test_strangers_are_asked_to_sign_in(self, client: Client) -> None:
        assert client.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
        assert client.get("/admin/login/?next=/admin/")["Location"] == "/login?next=/admin/"

    def test_the_way_in_leads_nowhere_else(self, client: Client) -> None:
        answer = client.get("/admin/login/?next=https://evil.example/")
        assert answer["Location"] == "/login?next=/admin/"

    def test_customers_are_told_that_it_is_not_for_them(self, client: Client) -> None:
        client.force_login(User.objects.create_user("c@example.com", PASSWORD))
        assert client.get("/admin/", follow=True).status_code == 403

    def test_an_account_that_was_closed_is_nobodys(self, client: Client, anna: User) -> None:
        staffing.sign_in(client, anna)
        User.objects.filter(pk=anna.pk).update(is_active=False)
        assert client.get("/admin/")["Location"].startswith("/admin/login/")


class TestWithoutAFactor:
    @pytest.mark.parametrize("path", PAGES)
    def test_every_page_leads_to_setting_one_up(
        self, client: Client, anna: User, path: str
    ) -> None:
        client.force_login(anna)
        for answer in (client.get(path), client.post(path)):
            assert answer.status_code == 302
            assert answer["Location"].startswith("/accounts/2fa/totp/activate/?next=")

    def test_the_api_refuses(self, client: Client, anna: User) -> None:
        client.force_login(anna)
        answer = client.get("/api/v1/me")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (
            403,
            "second_factor_required",
        )

    def test_setting_up_then_using_it_opens_the_door(self, client: Client, anna: User) -> None:
        client.post("/login", {"login": anna.email, "password": PASSWORD})
        asked = client.get("/admin/", follow=True).redirect_chain[-1][0]
        page = client.post(asked, {"password": PASSWORD}, follow=True)
        secret = page.context["form"].secret
        answer = client.post("/accounts/2fa/totp/activate/", {"code": code(secret)})
        # Set up is not used: the codes for a bad day are shown to who used it.
        assert answer["Location"] == "/accounts/2fa/recovery-codes/"
        led = client.get(answer["Location"])
        assert led["Location"].startswith("/accounts/2fa/reauthenticate/?next=")
        assert client.get("/admin/").status_code == 302
        # A code is good once: here the app shows the next one already.
        cache.clear()
        shown = client.post(led["Location"], {"code": code(secret)}, follow=True)
        assert re.search(r"\b\d{8}\b", shown.content.decode())
        assert client.get("/admin/").status_code == 200

    def test_whoever_did_not_prove_the_address_is_asked_to(self, client: Client) -> None:
        root = User.objects.create_superuser("root@example.com", PASSWORD)
        client.post("/login", {"login": root.email, "password": PASSWORD})
        EmailAddress.objects.get_or_create(user=root, email=root.email, defaults={"primary": True})
        led = client.get("/admin/", follow=True)
        assert (led.status_code, led.request["PATH_INFO"]) == (200, "/accounts/2fa/")
        assert client.get("/accounts/email/").status_code == 200
        assert client.get("/admin/").status_code == 302


class TestWithAFactorThatWasNotUsed:
    @pytest.mark.parametrize("path", PAGES)
    def test_every_page_leads_to_using_it(self, client: Client, anna: User, path: str) -> None:
        with_factor(anna)
        client.force_login(anna)
        answer = client.get(path)
        assert answer["Location"].startswith("/accounts/2fa/reauthenticate/?next=")

    def test_the_api_refuses(self, client: Client, anna: User) -> None:
        with_factor(anna)
        client.force_login(anna)
        assert client.get("/api/v1/me").json()["error"]["reason"] == "second_factor_required"

    @pytest.mark.parametrize(
        "name",
        [
            *("mfa_deactivate_totp", "mfa_activate_totp", "mfa_view_recovery_codes"),
            *("mfa_generate_recovery_codes", "mfa_add_webauthn", "account_change_password"),
            *("account_email", "account_reauthenticate", "settings"),
        ],
    )
    def test_the_password_alone_changes_nothing_about_it(
        self, client: Client, anna: User, name: str
    ) -> None:
        with_factor(anna)
        client.force_login(anna)
        for answer in (client.get(reverse(name)), client.post(reverse(name))):
            assert answer["Location"].startswith("/accounts/2fa/reauthenticate/?next=")
        assert Authenticator.objects.filter(user=anna).count() == 1

    def test_a_wrong_code_opens_nothing(self, client: Client, anna: User) -> None:
        with_factor(anna)
        client.force_login(anna)
        client.post("/accounts/2fa/reauthenticate/?next=/admin/", {"code": "000000"})
        assert client.get("/admin/").status_code == 302

    def test_using_it_opens_the_door(self, client: Client, anna: User) -> None:
        secret = with_factor(anna)
        client.force_login(anna)
        path = "/accounts/2fa/reauthenticate/?next=/admin/"
        assert client.post(path, {"code": code(secret)})["Location"] == "/admin/"
        assert client.get("/admin/").status_code == 200


class TestSigningIn:
    def test_password_then_code_opens_the_door(self, client: Client, anna: User) -> None:
        secret = with_factor(anna)
        answer = client.post("/login?next=/admin/", {"login": anna.email, "password": PASSWORD})
        assert client.get("/admin/").status_code == 302
        answer = client.post(answer["Location"], {"code": code(secret)})
        assert client.get("/admin/").status_code == 200
        assert client.get("/api/v1/me").status_code == 200

    def test_a_recovery_code_is_a_second_factor(self, client: Client, anna: User) -> None:
        from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

        with_factor(anna)
        recovery = RecoveryCodes.activate(anna).get_unused_codes()[0]
        answer = client.post("/login?next=/admin/", {"login": anna.email, "password": PASSWORD})
        client.post(answer["Location"], {"code": recovery})
        assert client.get("/admin/").status_code == 200

    def test_signing_out_of_the_admin_site_is_written_down(
        self, client: Client, anna: User
    ) -> None:
        staffing.sign_in(client, anna)
        client.get("/admin/logout/")
        assert client.get("/admin/").status_code == 200
        client.post("/admin/logout/")
        assert client.get("/admin/").status_code == 302
        assert AuditEvent.objects.filter(action="user.signed_out", user=anna).exists()


class TestProof:
    def test_it_is_over_after_some_hours(
        self, client: Client, anna: User, settings: LazySettings
    ) -> None:
        settings.STAFF_MFA_HOURS = 2
        staffing.sign_in(client, anna, age_s=1.9 * 3600)
        assert client.get("/admin/").status_code == 200
        staffing.sign_in(client, anna, age_s=2.1 * 3600)
        assert client.get("/admin/")["Location"].startswith("/accounts/2fa/reauthenticate/")

    def test_a_factor_that_was_removed_proves_nothing(self, client: Client, anna: User) -> None:
        staffing.sign_in(client, anna)
        Authenticator.objects.filter(user=anna).delete()
        with_factor(anna)
        assert client.get("/admin/")["Location"].startswith("/accounts/2fa/reauthenticate/")

    def test_somebody_elses_proves_nothing(self, client: Client, anna: User) -> None:
        bert = staffing.member("bert@example.com", superuser=True)
        staffing.sign_in(client, bert)
        records = dict(client.session.items())
        with_factor(anna)
        client.force_login(anna)
        session = client.session
        for name, value in records.items():
            if name.startswith("account_"):
                session[name] = value
        session.save()
        assert client.get("/admin/").status_code == 302

    def test_the_password_again_is_not_a_second_factor(self, client: Client, anna: User) -> None:
        with_factor(anna)
        client.force_login(anna)
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert client.get("/admin/").status_code == 302
