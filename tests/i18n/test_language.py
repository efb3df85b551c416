"""Which language a page is in: the person's own, then the one chosen, then the browser's."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from tests import pages

pytestmark = pytest.mark.django_db
WORDS = {"en": "Sign up", "de": "Registrieren", "ru": "Зарегистрироваться"}


def language(client: Client, path: str = "/", **headers: str) -> str:
    """In which language a page is, by its root element and by its words."""
    page = client.get(path, headers=headers).content.decode()
    code = page.partition('<html lang="')[2].partition('"')[0]
    if path == "/":
        assert WORDS[code] in page
    return code


class TestStrangers:
    @pytest.mark.parametrize(
        ("browser", "shown"),
        [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.5", "de"),
            ("fr,ru;q=0.7,en;q=0.5", "ru"),
            ("fr-FR", "en"),
        ],
    )
    def test_the_browser_decides(self, client: Client, browser: str, shown: str) -> None:
        assert language(client, **{"Accept-Language": browser}) == shown

    def test_what_was_chosen_goes_before_the_browser(self, client: Client) -> None:
        answer = client.post("/language", {"language": "ru", "next": "/models"})

        assert (answer.status_code, answer["Location"]) == (302, "/models")
        assert language(client, **{"Accept-Language": "de"}) == "ru"

    def test_a_language_that_there_is_not_changes_nothing(self, client: Client) -> None:
        client.post("/language", {"language": "xx", "next": "/"})

        assert language(client, **{"Accept-Language": "de"}) == "de"

    def test_the_way_back_leads_to_no_other_site(self, client: Client) -> None:
        answer = client.post("/language", {"language": "ru", "next": "https://example.com/"})

        assert answer["Location"] == "/"

    def test_a_form_of_another_site_is_refused(self) -> None:
        answer = Client(enforce_csrf_checks=True).post("/language", {"language": "ru"})

        assert answer.status_code == 403

    @pytest.mark.parametrize("path", ["/", "/models", "/login", "/signup", "/status"])
    def test_public_pages_offer_each_language_by_its_own_name(
        self, client: Client, path: str
    ) -> None:
        page = client.get(path).content.decode()

        assert 'data-testid="choose-language"' in page
        assert all(f'lang="{code}"' in page and name in page for code, name in settings.LANGUAGES)

    def test_a_page_that_is_not_there_is_told_in_the_language(self, client: Client) -> None:
        page = client.get("/nothing", headers={"Accept-Language": "de"}).content.decode()

        assert '<html lang="de">' in page
        assert "Diese Seite gibt es nicht" in page


class TestPeople:
    def test_their_own_language_goes_before_all_else(self) -> None:
        user = pages.person("ada")
        User.objects.filter(pk=user.pk).update(language="de")
        browser = pages.browser(user)
        browser.cookies[settings.LANGUAGE_COOKIE_NAME] = "ru"

        assert language(browser, "/dashboard", **{"Accept-Language": "en"}) == "de"

    def test_the_switch_changes_their_own_language(self) -> None:
        user = pages.person("ada")
        browser = pages.browser(user)

        browser.post("/language", {"language": "ru", "next": "/"})

        assert User.objects.get(pk=user.pk).language == "ru"
        assert language(browser, "/dashboard") == "ru"

    def test_whoever_signs_up_keeps_the_language_of_the_page(self, client: Client) -> None:
        form = {"email": "new@example.com", "password1": pages.PASSWORD}

        client.post("/signup", form, headers={"Accept-Language": "de"})

        user = User.objects.get(email="new@example.com")
        assert user.language == "de"
        assert pages.home(user).name == "Persönlich"

    def test_the_settings_answer_in_the_language_that_was_just_chosen(self) -> None:
        browser = pages.browser(pages.person("ada"))
        form = {"name": "Ada", "language": "ru", "time_zone": "UTC"}

        page = browser.post("/dashboard/settings/profile", form, follow=True).content.decode()

        assert "Сохранено." in page


class TestRefusals:
    def test_pages_refuse_in_the_readers_language(self) -> None:
        user = pages.person("ada")
        User.objects.filter(pk=user.pk).update(language="de")

        form = {"email": "ada@example.com", "role": "viewer"}
        answer = pages.browser(user).post("/dashboard/team/invite", form, follow=True)

        assert "ada@example.com ist bereits Mitglied." in answer.content.decode()

    def test_forms_of_django_and_of_allauth_speak_it_too(self, client: Client) -> None:
        form = {"login": "nobody@example.com", "password": "wrong-password"}

        page = client.post("/login", form, headers={"Accept-Language": "ru"}).content.decode()

        assert "Указанные вами адрес электронной почты и/или пароль неверны." in page

    def test_the_api_answers_in_english_whatever_the_browser_speaks(self) -> None:
        user = pages.person("ada")
        User.objects.filter(pk=user.pk).update(language="de")
        browser = pages.browser(user)
        workspace = pages.home(user).public_id

        answer = browser.post(
            "/api/v1/invitations",
            {"email": "ada@example.com", "role": "viewer"},
            content_type="application/json",
            headers={"Accept-Language": "de", "x-workspace-id": workspace},
        )

        assert answer["Content-Language"] == "en"
        assert answer.json()["error"]["message"] == "ada@example.com is a member already."

    def test_an_endpoint_that_is_not_there_is_told_in_english(self, client: Client) -> None:
        answer = client.get("/api/v1/nothing", headers={"Accept-Language": "ru"})

        assert answer["Content-Language"] == "en"
        assert answer.json()["error"]["message"] == "There is no endpoint GET /api/v1/nothing."
