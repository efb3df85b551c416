"""What must be true before web, worker and beat may start; `doctor` and `migrate` still run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from billing.chains import config as chains
from config import policies, traced

SHORTEST_SECRET = 32
PLACEHOLDERS = ("change", "placeholder", "replace", "example", "insecure", "secret_key", "fixme")
MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"


class Unfit(Exception):
    """The configuration does not allow a start."""


def problems() -> list[str]:
    """Return one sentence for each thing that forbids a start."""
    found = list(settings.CONFIGURATION_PROBLEMS)
    found += [f"{name} {what}" for name, what in _weak_secrets()]
    found += [
        f"{one} and {other} are equal; each secret has one purpose, give them different values."
        for one, other in _equal_secrets()
    ]
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT and not traced.is_installed():
        found.append(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what traces is not installed:"
            " pip install --require-hashes -r requirements-otel.txt."
        )
    return [*found, *_payment_problems(), *_chain_problems(), *policies.problems()]


def refuse_if_unfit() -> None:
    """
    Stop a process that must not serve.

    :raises Unfit: with all problems, and what to do
    """
    if found := problems():
        raise Unfit("This configuration cannot be started. " + " ".join(found))


def _payment_problems() -> Iterator[str]:
    secrets = settings.STRIPE_WEBHOOK_SECRETS
    if settings.STRIPE_SECRET_KEY and not any(secrets):
        yield "STRIPE_SECRET_KEY is set without STRIPE_WEBHOOK_SECRETS; see docs/billing.md."
    if any(not each.startswith("whsec_") for each in secrets) or len(secrets) > 2:
        yield "STRIPE_WEBHOOK_SECRETS is one or two secrets that begin with whsec_."
    if settings.TAX_AT not in ("none", "topup"):
        yield "TAX_AT is none or topup."


def _chain_problems() -> Iterator[str]:
    if chains.configured():
        try:
            chains.current()
        except chains.Wrong as error:
            yield f"{error}. See docs/crypto.md."


def _weak_secrets() -> list[tuple[str, str]]:
    weak = []
    key = settings.SECRET_KEY
    if len(key) < SHORTEST_SECRET:
        weak.append(("SECRET_KEY", f"is missing or shorter than {SHORTEST_SECRET}; {MAKE_ONE}."))
    elif any(word in key.lower() for word in PLACEHOLDERS):
        weak.append(("SECRET_KEY", f"is a placeholder; {MAKE_ONE}."))
    for name, keyring in (
        ("KEY_PEPPER", settings.KEY_PEPPERS),
        ("ENCRYPTION_KEY", settings.ENCRYPTION_KEYS),
    ):
        if not keyring and not any(name in text for text in settings.CONFIGURATION_PROBLEMS):
            weak.append((name, "is missing; `make run` writes one, or see docs/operations.md."))
        if any(len(set(key)) < 8 for key in keyring.values()):
            weak.append((name, "is a placeholder: it is not random."))
    return weak


def _equal_secrets() -> list[tuple[str, str]]:
    secrets = [("SECRET_KEY", settings.SECRET_KEY.encode())]
    secrets += [(f"KEY_PEPPER {i}", key) for i, key in settings.KEY_PEPPERS.items()]
    secrets += [(f"ENCRYPTION_KEY {i}", key) for i, key in settings.ENCRYPTION_KEYS.items()]
    return [(one[0], two[0]) for one, two in combinations(secrets, 2) if one[1] == two[1]]


@register(Tags.security)
def check_configuration(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report the same problems through ``manage.py check``."""
    return [Error(text, id=f"tollgate.E{number:03d}") for number, text in enumerate(problems(), 1)]
