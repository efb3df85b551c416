"""
The page of all settings, made from the settings: ``python -m config.reference``.

What is read and its default come from ``config/settings.py`` itself; what it is for is said
here. A variable that is read and not described, or described and not read, is an error.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("settings.py")
READERS = ("env", "keyring")
NONE = "none"

# In words where the default in the code says little.
DEFAULTS = {
    "ALLOWED_HOSTS": "loopback",
    "CSRF_TRUSTED_ORIGINS": "`BASE_URL`",
    "DATABASE_URL": "embedded",
    "EMAIL_URL": "files in `DATA_DIR/mail`",
    "METRICS_DIR": "`DATA_DIR/metrics`",
    "PAYMENT_ORIGINS": "Stripe's pages where Stripe is used",
    "REDIS_URL": "embedded",
    "SIGNUP_GRANT_USD": "`0` (demo `5`)",
    "SPOOL_DIR": "`DATA_DIR/spool`",
    "STATIC_ROOT": "`DATA_DIR/static`",
}

EXTRA = {
    "CHAIN_RPC_<number>": "endpoints of an EVM chain, comma-separated, where they hold a secret",
}
HEAD = """\
# Configuration

Everything is read from the environment, once, at the start. Where `DATABASE_URL` or `REDIS_URL`
is unset, `DATA_DIR/.env` is read as well. This page is made from the settings:
`PYTHONPATH=platform python -m config.reference --write`.

"""

MEANINGS = {
    "DATA_DIR": "the folder of the embedded servers and mail files",
    "DATABASE_URL": "`postgres://user:password@host:port/name`",
    "REDIS_URL": "`redis://:password@host:port/0`",
    "SECRET_KEY": "signs sessions and links; at least 32 characters",
    "SECRET_KEY_FALLBACKS": "earlier ones that still open sessions and links, comma-separated",
    "KEY_PEPPER": (
        "`id:base64` of 32 bytes: API keys are stored as HMAC under it; several, "
        "comma-separated: the first writes, all are read"
    ),
    "ENCRYPTION_KEY": (
        "`id:base64` of 32 bytes: seals providers' API keys and what is kept of prompts and "
        "answers; several as above"
    ),
    "BASE_URL": "the public address; https turns on secure cookies and HSTS",
    "ALLOWED_HOSTS": "host names, comma-separated",
    "CSRF_TRUSTED_ORIGINS": "origins of forms",
    "TRUSTED_PROXIES": "how many proxies in front append to X-Forwarded-For",
    "PAYMENT_ORIGINS": "origins that forms may lead to",
    "DEBUG": "Django's debug pages; never in production",
    "DEMO": "set by `make run`",
    "EMAIL_URL": "e.g. `smtp+tls://user:password@host:587`",
    "DEFAULT_FROM_EMAIL": "sender of mail",
    "LEGAL_DIR": "folder of terms.md, privacy.md, refunds.md, imprint.md; also terms.de.md",
    "OPERATOR_EMAILS": "who is told of incidents, comma-separated",
    "LOW_BALANCE_USD": "below this balance a workspace is told, unless it chose otherwise",
    "DRIFT_ALERT_PERCENT": "how far a provider's bill may be from ours",
    "STATIC_ROOT": "where collectstatic writes",
    "API_KEY_PREFIX": "of new keys; changing it kills no key",
    "TOKEN_VALUE_USD": "what one platform token is worth",
    "SIGNUP_GRANT_USD": "granted when an email address is verified",
    "MIN_OUTPUT_TOKENS": "an output limit is not clamped below this",
    "APPROVAL_USD": (
        "a grant, correction or refund above this takes a second member of staff; what one "
        "person moved alone for the same workspace within 24 hours is added up"
    ),
    "APPROVAL_TTL_H": "a request that nobody has decided expires after so many hours",
    "STAFF_MFA_HOURS": "staff use their second factor again after this",
    "IMPERSONATION_MINUTES": "staff look at the dashboard as a customer no longer than this",
    "HOLD_TTL_S": "a hold is overdue after this; live streams extend theirs",
    "REQUEST_DEADLINE_S": "a call without a stream, with all its fallbacks",
    "CONNECT_TIMEOUT_S": "connecting to a provider",
    "FIRST_BYTE_TIMEOUT_S": "a provider's silence before an answer",
    "IDLE_TIMEOUT_S": "a provider's silence within a stream",
    "DRAIN_TIMEOUT_S": "reading on after a caller hung up",
    "HEAD_TIMEOUT_S": "the headers of a request must have arrived",
    "BODY_TIMEOUT_S": "a request body must have arrived",
    "KEEPALIVE_S": "silence after which a stream gets a comment",
    "STREAM_PACE_S": (
        "chunks that come faster than this are passed on together; 0 passes on each as it comes"
    ),
    "HEARTBEAT_S": "a gateway's heartbeat",
    "SILENT_AFTER_S": "silence after which a gateway counts as dead",
    "CHECKPOINT_S": "how often live streams are written down",
    "SPOOL_DIR": "settlements that wait for PostgreSQL; a local disk",
    "BAD_KEYS_PER_MINUTE": "unknown API keys that one address may try at one gateway",
    "CLIENT_CONNECTIONS": (
        "connections that one web process keeps open; more are answered 503 "
        "`too_many_connections`. Each stream takes two file descriptors: of those that the "
        "process may have, half are for clients"
    ),
    "UPSTREAM_CONNECTIONS": (
        "connections of one gateway to its providers; a call that finds none free within "
        "`CONNECT_TIMEOUT_S` is refused as overloaded"
    ),
    "SHUTDOWN_GRACE_S": (
        "how long calls under way may go on after SIGTERM, while new ones get 503 `draining`"
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "where traces go, by OTLP over HTTP: `http://collector:4318`; empty: nothing is traced. "
        "Needs requirements-otel.txt; other `OTEL_…` variables are read by OpenTelemetry itself"
    ),
    "OTEL_SERVICE_NAME": "the name of this service in its traces",
    "METRICS_PORT": "where Prometheus may ask, the same for all processes of a machine; 0: nowhere",
    "METRICS_ADDR": "the address of that port; never a public one",
    "METRICS_DIR": "where the processes of a machine count together",
    "PROMPT_LOG_MAX_DAYS": (
        "days for which a workspace may choose to keep its prompts and answers, at most 30; 0: no "
        "workspace may, and what was kept goes"
    ),
    "PROMPT_LOG_BYTES": "how much is kept of one call's prompt and answer; the rest is cut off",
    "GENERATION_TTL_H": "hours for which a generation of /api/v2/generate can be fetched",
    "SANDBOX_URL": "the sandbox provider's address",
    "SANDBOX_TOKEN": "its API key",
    "LOG_LEVEL": "of all logs",
    "LOG_PLAIN": "lines for people instead of JSON",
    "STRIPE_SECRET_KEY": "Stripe's secret key; empty: no cards are taken",
    "STRIPE_WEBHOOK_SECRETS": (
        "what Stripe signs webhooks with, comma-separated: two while one replaces the "
        "other; needed with a key"
    ),
    "STRIPE_API_BASE": "another address than Stripe's own, for tests",
    "TAX_AT": "whether Stripe adds tax, and when: see [services](services.md)",
    "TOPUP_MIN_USD": "the smallest payment",
    "TOPUP_MAX_USD": "the largest payment",
    "TOPUP_DAILY_USD": "the most that a workspace pays in a day",
    "TOPUP_FIRST_DAILY_USD": "the same as long as it is new",
    "TOPUP_ATTEMPTS_PER_HOUR": "payments that a workspace, or a person, may begin in an hour",
    "TOPUP_NEW_CARDS_PER_DAY": "cards that a workspace, or a person, may use first in a day",
    "TOPUP_WORKSPACES_PER_CARD": "new workspaces that one card may pay for within 30 days",
    "WEBHOOK_ALLOWED_TARGETS": (
        "`host:port` that webhooks may reach although they are not public, or by http; "
        "comma-separated"
    ),
    "CHAINS_FILE": "the YAML of EVM chains whose coins are taken; empty: none",
    "CHAIN_LOOK_S": "how often each chain is looked at",
}


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: where the settings read it, and its default in words."""

    name: str
    section: str
    default: str


def variables() -> list[Variable]:
    """Return what the settings read, in their order."""
    text = SOURCE.read_text()
    sections = _sections(text)
    found: dict[str, Variable] = {}
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: call.lineno):
        name = _variable(call)
        if name and name not in found:
            title = [title for line, title in sections if line < call.lineno][-1]
            found[name] = Variable(name, title, DEFAULTS.get(name) or _default(call))
    return list(found.values())


def page() -> str:
    """Return the page.

    :raises KeyError: a variable has no description
    """
    parts, section = [HEAD], ""
    for variable in variables():
        if variable.section != section:
            blank = "\n" if section else ""
            section = variable.section
            parts.append(f"{blank}## {section}\n\n| variable | default | what it is |\n")
            parts.append("|---|---|---|\n")
        parts.append(f"| `{variable.name}` | {variable.default} | {MEANINGS[variable.name]} |\n")
    parts.append("\n## Numbered\n\n| variable | what it is |\n|---|---|\n")
    parts += [f"| `{name}` | {meaning} |\n" for name, meaning in EXTRA.items()]
    return "".join(parts)


def _sections(text: str) -> list[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    return [(n, line.strip("# -").strip()) for n, line in lines if line.startswith("# -- ")]


def _variable(call: ast.Call) -> str:
    reads = isinstance(call.func, ast.Attribute | ast.Name) and _root(call.func) in READERS
    first = call.args[0] if reads and call.args else None
    name = first.value if isinstance(first, ast.Constant) else ""
    return name if isinstance(name, str) and name.isupper() else ""


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _default(call: ast.Call) -> str:
    node = next((word.value for word in call.keywords if word.arg == "default"), None)
    if node is None and len(call.args) > 1:
        node = call.args[1]
    if not isinstance(node, ast.Constant) or node.value in ("", None):
        return NONE
    value = node.value
    return (
        f"`{value:g}`" if isinstance(value, float) else f"`{str(value).replace('False', 'false')}`"
    )


if __name__ == "__main__":
    if "--write" in sys.argv:
        (SOURCE.parents[2] / "docs" / "configuration.md").write_text(page())
    else:
        sys.stdout.write(page())
