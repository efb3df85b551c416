"""Every page in German and in Russian: nothing of it is left in English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from django.utils.translation import override

from accounts import invitations, keys, service_accounts, webhooks
from accounts.models import User, Workspace
from billing import grants, limits
from billing.models import TopUp
from common import ids
from proxy import exports
from tests import pages
from tests.i18n import catalogues, names, reading

pytestmark = pytest.mark.django_db
PUBLIC: Final = ("/", "/models", "/pricing", "/status", "/docs/quickstart", "/docs/api")
DOORS: Final = ("/login", "/signup", "/accounts/password/reset/")
MINE: Final = (
    "/dashboard",
    "/dashboard/quickstart",
    "/dashboard/playground",
    "/dashboard/keys",
    "/dashboard/keys/new",
    "/dashboard/usage",
    "/dashboard/usage?by=day",
    "/dashboard/logs",
    "/dashboard/logs?id=nothing",
    "/dashboard/exports",
    "/dashboard/billing",
    "/dashboard/pricing",
    "/dashboard/limits",
    "/dashboard/team",
    "/dashboard/team/audit",
    "/dashboard/settings",
    "/dashboard/settings/webhooks",
    "/dashboard/settings/delete",
    "/dashboard/nothing-here",
)
OF_ALLAUTH: Final = (
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/",
    "/accounts/sessions/",
)
LATIN: Final = re.compile(r"[A-Za-z]{3,}")


class Site:
    """One reader's browser and everything that was read in it."""

    def __init__(self, client: Client, language: str) -> None:
        self.client = client
        self.language = language
        self.client.cookies[settings.LANGUAGE_COOKIE_NAME] = language

    def read(self, *paths: str) -> Iterator[tuple[str, str]]:
        """Every text and label of some pages, each with the page it is on."""
        for path in paths:
            answer = self.client.get(path)
            assert answer.status_code in (200, 403, 404), f"{path}: {answer.status_code}"
            page = answer.content.decode()
            assert f'<html lang="{self.language}"' in page, path
            yield from ((path, text) for text in reading.words(page))


def speaker(user: User, language: str) -> Site:
    """A signed-in browser of somebody who speaks a language."""
    User.objects.filter(pk=user.pk).update(language=language)
    return Site(pages.browser(user), language)


def furnish(user: User, home: Workspace) -> tuple[str, ...]:
    """Something of each kind for pages to show; return the addresses that it has."""
    model = pages.sell("acme/one")
    key = pages.make_key(user, name="№ 1")
    grants.grant(workspace=home, asset="USD", amount=5 * 10**9, reason="№ 3", by=user)
    request = pages.closed_request(key, home, model=model.slug, provider="№ 4")
    keys.disable(key=pages.make_key(user, name="№ 5"), by=user)
    pages.make_key(user, name="№ 6", expires_at=timezone.now() + timedelta(days=2), rpm=5)
    for facts in (
        {"status": 429, "reason": "rate_limited", "cost": 0, "charged": 0},
        {"cancelled": True, "stream": True},
        {"unknown": True, "source": "checkpoint"},
    ):
        pages.closed_request(key, home, model=model.slug, provider="№ 4", **facts)
    exports.create(workspace=home, kind="logs", query={}, rows_expected=None, by=user)
    limits.set_workspace_caps(workspace=home, daily=0, monthly=0, by=user)
    invitations.create(workspace=home, email="carol@example.com", role="viewer", by=user)
    service_accounts.create(workspace=home, name="№ 2", role="developer", by=user)
    webhook, _ = webhooks.create(
        workspace=home, url="https://example.com/hook", events=["topup.succeeded"], by=user
    )
    TopUp.objects.create(
        workspace=home, method="checkout", status="failed", amount_cents=500, failure="declined"
    )
    return (
        f"/dashboard/keys/{key.public_id}",
        f"/dashboard/logs/{ids.form('req_', request.id)}",
        f"/dashboard/settings/webhooks/{webhook.public_id}",
    )


def everything(language: str) -> list[tuple[str, str]]:
    """What strangers, newcomers and owners read."""
    with override(language):
        new, old = pages.person("newcomer", verified=False), pages.person("owner")
    found = list(Site(Client(), language).read(*PUBLIC, *DOORS))
    found += speaker(new, language).read(*MINE)
    more = furnish(old, pages.home(old))
    owner = speaker(old, language)
    found += owner.read("/accounts/reauthenticate/")
    owner.client.post("/accounts/reauthenticate/", {"password": pages.PASSWORD})
    assert {owner.client.get(path).status_code for path in more} == {200}
    found += owner.read(*PUBLIC, *MINE, *OF_ALLAUTH, *more)
    return found


def is_left(text: str) -> bool:
    """Whether a Russian page says this in English: words of Latin letters that name nothing."""
    rest = names.SHAPES.sub(" ", text)
    return text not in names.CODES and any(word not in names.LATIN for word in LATIN.findall(rest))


class TestRussian:
    def test_no_page_has_an_english_word(self) -> None:
        left = sorted({(text, path) for path, text in everything("ru") if is_left(text)})

        assert left == [], "\n".join(map(str, left))

    @pytest.mark.parametrize("text", ["Save", "Ключ is disabled", "no limit"])
    def test_an_english_word_would_be_found(self, text: str) -> None:
        assert is_left(text)

    @pytest.mark.parametrize("text", ["Ключ API", "owner@example.com", "req_0a1b · acme/one"])
    def test_a_name_is_no_english_word(self, text: str) -> None:
        assert not is_left(text)


class TestGerman:
    def test_no_page_has_a_text_of_the_source(self) -> None:
        source = {
            str(form)
            for message in catalogues.read("de")
            if message.id and message.id != message.string
            for form in ([message.id] if isinstance(message.id, str) else message.id)
        } - names.CODES
        left = sorted({(text, path) for path, text in everything("de") if text in source})

        assert left == [], "\n".join(map(str, left))
