"""Every secret of the settings and of the database has its row in SECURITY.md, and its test."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from config import reference
from proxy import resealing

# What the name of a variable with a secret in it has.
SECRET = re.compile(r"KEY|SECRET|PEPPER|TOKEN|PASSWORD|CREDENTIAL|_URL$|RPC|HEADERS|ENDPOINT")
# Those that have it all the same, and why there is no secret in them.
OPEN = {
    "BASE_URL": "the public address",
    "SANDBOX_URL": "an address inside; who may ask there has SANDBOX_TOKEN",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "the address of a collector inside",
    "API_KEY_PREFIX": "the part of a key that all share",
    "BAD_KEYS_PER_MINUTE": "a number",
    "MIN_OUTPUT_TOKENS": "a number",
    "TOKEN_VALUE_USD": "a price",
}
UNDER_LOAD = "ops/test_rotation.py", "test_pepper_and_encryption_key_are_replaced_under_load"
SERVERS = "ops/test_rotation_servers.py", "test_no_call_and_nobody_who_is_signed_in_notices"
STRIPE = "billing/stripe/test_rotation.py", "test_no_payment_and_no_event_is_lost"
CHAIN = (
    "ops/test_rotation_outside.py",
    "test_no_deposit_is_lost_or_booked_twice_when_endpoints_and_wallet_are_replaced",
)
WEBHOOK = "journeys/test_webhooks.py", "_another_secret_takes_over"
# Each row of SECURITY.md, and where it is done while the product is at work.
ROTATED = {
    "`ENCRYPTION_KEY`": UNDER_LOAD,
    "`KEY_PEPPER`": UNDER_LOAD,
    "`SECRET_KEY`": SERVERS,
    "PostgreSQL's password, in `DATABASE_URL`": SERVERS,
    "Redis's password, in `REDIS_URL`": SERVERS,
    "the mail server's password, in `EMAIL_URL`": (
        "ops/test_rotation_outside.py",
        "test_no_mail_is_lost_or_sent_twice_when_the_mail_servers_password_is_replaced",
    ),
    "a provider's API key": SERVERS,
    "`STRIPE_SECRET_KEY`": STRIPE,
    "`STRIPE_WEBHOOK_SECRETS`": STRIPE,
    "the secret of a customer's webhook": WEBHOOK,
    "a wallet's xpub": CHAIN,
    "an endpoint of a chain, in `CHAIN_RPC_<number>`": CHAIN,
    "`SANDBOX_TOKEN`": SERVERS,
}
# Each sealed column: the row that says how what is in it is replaced, or whose it is and for how
# long. All are sealed anew by `rotate_secrets` when ENCRYPTION_KEY is.
SEALED = {
    "proxy_provider.api_key_encrypted": "a provider's API key",
    "proxy_provider.cost_report_key_encrypted": "a provider's API key",
    "accounts_webhookendpoint.sealed": "the secret of a customer's webhook",
    "accounts_webhookendpoint.old_sealed": "the secret of a customer's webhook",
    "billing_extendedkey.sealed": "a wallet's xpub",
    "accounts_keptanswer.sealed": "an answer that may show a new key once more, for a day",
    "proxy_exportpiece.sealed": "a file that its owner fetches, for some days",
    "proxy_generation.sealed": "a prompt or an answer, for GENERATION_TTL_H",
    "proxy_idempotencykey.answer": "an answer, for a day",
    "proxy_promptlog.sealed": "prompts and answers that a workspace keeps, for its days",
}


def table() -> str:
    """The table of the policy."""
    text = (settings.BASE_DIR / "SECURITY.md").read_text()
    return text.partition("## Rotate secrets")[2].partition("\n## ")[0]


def rows() -> list[str]:
    """What each of its rows is about."""
    lines = [line for line in table().splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]]


def secret_variables() -> list[str]:
    """The variables of the environment that carry a secret."""
    names = [variable.name for variable in reference.variables()]
    names += [name for name in reference.EXTRA if "<" in name or name.isupper()]
    return [name for name in names if SECRET.search(name) and name not in OPEN]


class TestTable:
    def test_every_row_has_its_test(self) -> None:
        assert set(ROTATED) == set(rows())
        for path, name in ROTATED.values():
            assert f"def {name}" in (settings.BASE_DIR / "tests" / path).read_text(), name

    @pytest.mark.parametrize("name", secret_variables())
    def test_every_variable_with_a_secret_has_its_row(self, name: str) -> None:
        assert f"`{name}`" in table(), f"say in SECURITY.md how {name} is replaced"

    def test_every_sealed_column_is_accounted_for(self) -> None:
        assert set(SEALED) == {column.name for column in resealing.columns()}
