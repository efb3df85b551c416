"""The operator's legal texts, and who agreed to which version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from accounts import legal
from accounts.models import Consent, User
from tests import pages

FORM = {"email": "new@example.com", "password1": pages.PASSWORD}


@pytest.fixture
def texts(settings: Any, tmp_path: Path) -> Path:
    """Terms in two languages, and a privacy policy."""
    (tmp_path / "terms.md").write_text("# Terms\n\nBe <b>kind</b>.")
    (tmp_path / "terms.de.md").write_text("# Bedingungen")
    (tmp_path / "privacy.md").write_text("# Privacy")
    settings.LEGAL_DIR = tmp_path
    return tmp_path


@pytest.fixture
def nothing(settings: Any, tmp_path: Path) -> None:
    """An operator who has supplied no text."""
    settings.LEGAL_DIR = tmp_path / "none"


class TestRead:
    def test_a_text_is_in_the_readers_language_where_there_is_one(self, texts: Path) -> None:
        with translation.override("de"):
            found = [legal.read(name=name) for name in ("terms", "privacy")]

        assert [text.markdown for text in found if text] == ["# Bedingungen", "# Privacy"]

    def test_no_other_file_is_read(self, texts: Path) -> None:
        (texts / "secret.md").write_text("secret")

        assert legal.read(name="secret") is None
        assert legal.read(name="../secret") is None


class TestPages:
    def test_what_there_is_is_shown_and_linked(self, client: Client, texts: Path) -> None:
        page = client.get("/legal/terms")

        assert page.status_code == 200
        assert "&lt;b&gt;kind" in page.content.decode()
        assert 'href="/legal/privacy"' in client.get("/").content.decode()
        assert client.get("/legal/imprint").status_code == 404

    def test_what_is_kept_of_prompts_is_said_beside_the_policy(
        self, client: Client, settings: Any, texts: Path
    ) -> None:
        for most, said in ((30, "for up to 30 days"), (0, "no workspace can have them kept")):
            settings.PROMPT_LOG_MAX_DAYS = most
            assert said in client.get("/legal/privacy").content.decode()
        assert "prompt-disclosure" not in client.get("/legal/terms").content.decode()

    def test_what_is_not_there_is_not_linked(self, client: Client, nothing: None) -> None:
        assert "/legal/" not in client.get("/").content.decode()


@pytest.mark.django_db
class TestConsent:
    def test_without_it_there_is_no_account(self, client: Client, texts: Path) -> None:
        page = client.post("/signup", FORM)

        assert page.status_code == 200
        assert "Without this there is no account." in page.content.decode()
        assert not User.objects.filter(email="new@example.com").exists()

    def test_it_is_asked_last(self, client: Client, texts: Path) -> None:
        page = client.get("/signup").content.decode()

        names = re.findall(r'name="(email|password1|consent)"', page)
        assert names == ["email", "password1", "consent"]

    def test_it_is_kept_with_the_version_that_was_read(self, client: Client, texts: Path) -> None:
        client.post("/signup", FORM | {"consent": "on"})

        kept = dict(Consent.objects.values_list("document", "digest"))
        terms, privacy = legal.read(name="terms"), legal.read(name="privacy")
        assert terms is not None
        assert privacy is not None
        assert kept == {"terms": terms.digest, "privacy": privacy.digest}
        assert Consent.objects.filter(user__email="new@example.com").count() == 2

    def test_nobody_is_asked_where_there_are_no_terms(self, client: Client, nothing: None) -> None:
        assert "consent" not in client.get("/signup").content.decode()

        client.post("/signup", FORM)

        assert User.objects.filter(email="new@example.com").exists()
        assert not Consent.objects.exists()
