"""Every page in German and in Russian: nothing of it is left in English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings as configured
from django.test import Client
from django.utils import timezone
from django.utils.translation import override
from pytest_django import Settings

from accounts import invitations, keys, service_accounts, webhooks
from accounts.models import User, Workspace
from billing import autotopups, grants, limits
from billing.chains import wallets
from billing.models import DepositAddress, TokenPackage, TopUp
from billing.models_funding import AutoTopUp, SavedCard
from common import ids
from proxy import exports
from tests import pages
from tests.billing.chains import counter
from tests.billing.chains.counter import Counter
from tests.fakes.evm import FakeChain
from tests.i18n import catalogues, glossary, names, reading

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
    "/accounts/2fa/recovery-codes/generate/",
    "/accounts/sessions/",
    "/accounts/logout/",
    "/accounts/password/reset/done/",
)
# A dollar sign in front, thousands with a comma, decimals with a point, an unspaced percent sign.
AMOUNT: Final = re.compile(r"\$\s?\d|\d,\d{3}\.|(?<![\w.-])\d+\.\d+ ?(%|USD)|\d%")
LATIN: Final = re.compile(r"[A-Za-z]{3,}")


class Site:
    """One reader's browser and everything that was read in it."""

    def __init__(self, client: Client, language: str) -> None:
        self.client = client
        self.language = language
        self.client.cookies[configured.LANGUAGE_COOKIE_NAME] = language

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
    passkey = {"name": "№ 9", "credential": {}}
    Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=passkey)
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
    words = [word for word in LATIN.findall(rest) if word not in names.LATIN]
    return text not in names.CODES and bool(words or AMOUNT.search(text))


@pytest.fixture
def shop(settings: Settings, tmp_path: Path) -> Iterator[Counter]:
    """Coins and cards are taken here."""
    settings.STRIPE_SECRET_KEY = "sk_test_1"
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_1"]
    with FakeChain(decimals={counter.USDC: 6, counter.USDT: 6}) as chain:
        urls = [chain.endpoint().url for _ in range(2)]
        counter.configure(settings, tmp_path, counter.plan(urls))
        counter.set_wallet()
        made = Counter(chain)
        assert made.look().trouble == ""
        yield made


def pay_in(shop: Counter, home: Workspace) -> None:
    """A card on file, payments in each state, and coins under way and arrived."""
    card = SavedCard.objects.create(
        workspace=home, method_id="pm_1", brand="№ 7", last4="4242", exp_month=1, exp_year=2031
    )
    autotopups.of(workspace=home).save()
    AutoTopUp.objects.filter(workspace=home).update(card=card, stopped_because="card_declined")
    TokenPackage.objects.create(slug="small", name="№ 8", tokens=1_000_000, price_nanos=5 * 10**9)
    for status, failure in [("pending", ""), ("failed", "insufficient_funds")]:
        TopUp.objects.create(
            workspace=home, method="checkout", status=status, amount_cents=123_450, failure=failure
        )
    address = wallets.give(workspace=home)
    DepositAddress.objects.filter(pk=address.pk).update(keep=True)
    for amount in (1_234_500_000, 2_500_000):
        shop.chain.mine(shop.pay(address, amount))
        shop.look()
        shop.chain.finalise()
    shop.look()
    shop.chain.mine(shop.pay(address, 250_000))
    shop.look()


def payments(shop: Counter, language: str) -> list[tuple[str, str]]:
    """What people with money read: the sections of cards and coins, and their refusals."""
    with override(language):
        owner = pages.person("payer")
    site = speaker(owner, language)
    found = list(site.read("/dashboard/billing"))
    pay_in(shop, pages.home(owner))
    paths = [f"/dashboard/billing/top-ups/{each.public_id}" for each in TopUp.objects.all()]
    found += site.read("/dashboard/billing", *paths)
    for where, form in [
        ("/dashboard/billing/top-ups", {"amount": "1"}),
        ("/dashboard/billing/top-ups", {"amount": "5.001"}),
        ("/dashboard/billing/auto", {"enabled": "on", "threshold": "x"}),
        ("/dashboard/settings/webhooks", {"url": "ftp://example.com", "events": ["key.created"]}),
        ("/dashboard/keys/new", {}),
        ("/dashboard/team/invite", {"email": "x", "role": "viewer"}),
        ("/dashboard/limits/workspace", {"daily": "x", "monthly": "-1"}),
    ]:
        answer = site.client.post(where, form, follow=True)
        found += [(where, text) for text in reading.words(answer.content.decode())]
    return found


class TestRussian:
    def test_no_page_has_an_english_word(self) -> None:
        left = sorted({(text, path) for path, text in everything("ru") if is_left(text)})

        assert left == [], "\n".join(map(str, left))

    def test_no_section_of_payments_and_no_refusal_has_one(self, shop: Counter) -> None:
        left = sorted({(text, path) for path, text in payments(shop, "ru") if is_left(text)})

        assert left == [], "\n".join(map(str, left))

    @pytest.mark.parametrize("text", ["Save", "Ключ is disabled", "no limit"])
    def test_an_english_word_would_be_found(self, text: str) -> None:
        assert is_left(text)

    @pytest.mark.parametrize("text", ["Ключ API", "owner@example.com", "req_0a1b · acme/one"])
    def test_a_name_is_no_english_word(self, text: str) -> None:
        assert not is_left(text)


def of_the_source() -> set[str]:
    """Every English text that German has another one for."""
    return {
        str(form)
        for message in catalogues.read("de")
        if message.id and message.id != message.string
        for form in ([message.id] if isinstance(message.id, str) else message.id)
    } - names.CODES


def is_english(text: str, source: set[str]) -> bool:
    """Whether a German page says this in English, writes an amount so, or is familiar."""
    return text in source or bool(AMOUNT.search(text) or glossary.FAMILIAR["de"].search(text))


class TestGerman:
    def test_no_page_has_a_text_of_the_source(self) -> None:
        source = of_the_source()
        left = sorted({(text, path) for path, text in everything("de") if is_english(text, source)})

        assert left == [], "\n".join(map(str, left))

    def test_no_section_of_payments_and_no_refusal_has_one(self, shop: Counter) -> None:
        source, found = of_the_source(), payments(shop, "de")
        left = sorted({(text, path) for path, text in found if is_english(text, source)})

        assert left == [], "\n".join(map(str, left))

    @pytest.mark.parametrize("text", ["$5,00", "1,234.50", "12.5 %"])
    def test_an_english_amount_would_be_found(self, text: str) -> None:
        assert AMOUNT.search(text)

    @pytest.mark.parametrize(
        "text", ["1.234,50\xa0$", "12,5\xa0%", "gpt-4.1", "21.11.2026", "1.234"]
    )
    def test_a_german_one_is_none(self, text: str) -> None:
        assert not AMOUNT.search(text)
