"""
All settings, all from the environment; no other module reads the environment.

Where DATABASE_URL or REDIS_URL is unset, ``DATA_DIR/.env`` (written by ``make run``) is
read as well, so that ``manage.py`` in a second terminal finds the embedded servers.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import environ
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from common.crypto_keys import parse_keyring
from common.money import nanos_from_usd
from config.logging import configure as configure_logging

BASE_DIR = Path(__file__).resolve().parents[2]
env = environ.Env()

# -- Where things are -------------------------------------------------------------------
DATA_DIR = Path(env.str("DATA_DIR", "var")).expanduser()
if not DATA_DIR.is_absolute():
    DATA_DIR = BASE_DIR / DATA_DIR
if not (env.str("DATABASE_URL", "") and env.str("REDIS_URL", "")):
    env.read_env(DATA_DIR / ".env")

# -- Mode and addresses -----------------------------------------------------------------
DEBUG = env.bool("DEBUG", False)
DEMO = env.bool("DEMO", False)
TESTING = "pytest" in sys.modules
BASE_URL = env.str("BASE_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[BASE_URL])
SECURE = BASE_URL.startswith("https://")
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)

# -- Secrets: one purpose each ----------------------------------------------------------
# Django refuses an empty one even to `doctor`; config.startup refuses a short one.
SECRET_KEY = env.str("SECRET_KEY", "") or "missing"
# Earlier ones, while sessions and links that they signed are still about.
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])
# What is wrong here is told by config.startup, so that `doctor` can still run.
CONFIGURATION_PROBLEMS: list[str] = []


def keyring(name: str) -> dict[str, bytes]:
    """Read a key ring; what cannot be read is a problem for config.startup."""
    try:
        return parse_keyring(env.str(name, ""), name=name)
    except ValueError as error:
        CONFIGURATION_PROBLEMS.append(str(error))
        return {}


KEY_PEPPERS = keyring("KEY_PEPPER")
ENCRYPTION_KEYS = keyring("ENCRYPTION_KEY")

# -- Database and Redis -----------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", "postgres://tollgate@127.0.0.1:5432/tollgate")
REDIS_URL = env.str("REDIS_URL", "redis://127.0.0.1:6379/0")
DATABASES: dict[str, Any] = {"default": env.db_url_config(DATABASE_URL)}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    # Transactions are short: whoever sits on a lock is ended, not waited for. No query is worth
    # compiling (it was half the time of the Overview's).
    options="-c statement_timeout=30s -c idle_in_transaction_session_timeout=15s -c jit=off",
    connect_timeout=5,
    # A server that is gone without a word, found out within seconds.
    keepalives_idle=10,
    keepalives_interval=3,
    keepalives_count=3,
    tcp_user_timeout=10_000,
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "tollgate",
        "OPTIONS": {"socket_timeout": 1.0, "socket_connect_timeout": 1.0},
    }
}

# -- Applications -----------------------------------------------------------------------
INSTALLED_APPS = [
    "config",
    "accounts",
    "billing",
    "proxy",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "config.adminapp.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "common.middleware.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.StaffDoor",
    "accounts.middleware.Impersonating",
    "accounts.middleware.OwnLanguage",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.workspaces",
                "accounts.context_processors.legal_texts",
            ]
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
INSTALLED_APPS.append("django.forms")

# -- People: sign-up, sign-in -----------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/dashboard"
LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms_signup.ConsentForm"
# Terms, privacy, refunds and imprint as Markdown: the operator's own texts.
LEGAL_DIR = Path(env.str("LEGAL_DIR", str(DATA_DIR / "legal"))).expanduser()
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# Unverified people may look around; what costs money asks for a verified address.
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE else "http"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_ON_GET = False
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
MFA_ADAPTER = "accounts.factors.FactorAdapter"
MFA_FORMS = {
    "add_webauthn": "accounts.forms_passkeys.AddPasskeyForm",
    "edit_webauthn": "accounts.forms_passkeys.EditPasskeyForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Browsers make passkeys on https and on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SECURE
MFA_TOTP_ISSUER = "Tollgate"
USERSESSIONS_ADAPTER = "accounts.sessions.SessionsAdapter"

# -- Payments: no key, no cards ---------------------------------------------------------
PAYMENT_PROCESSOR = "billing.stripe.processor.Stripe"
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", "")
# Two while one replaces the other.
STRIPE_WEBHOOK_SECRETS: list[str] = env.list("STRIPE_WEBHOOK_SECRETS", default=[])
STRIPE_API_BASE = env.str("STRIPE_API_BASE", "https://api.stripe.com").rstrip("/")
TAX_AT = env.str("TAX_AT", "none")
TOPUP_MIN_CENTS = nanos_from_usd(env.str("TOPUP_MIN_USD", "5")) // 10**7
TOPUP_MAX_CENTS = nanos_from_usd(env.str("TOPUP_MAX_USD", "5000")) // 10**7
TOPUP_DAILY_CENTS = nanos_from_usd(env.str("TOPUP_DAILY_USD", "10000")) // 10**7
TOPUP_FIRST_DAILY_CENTS = nanos_from_usd(env.str("TOPUP_FIRST_DAILY_USD", "200")) // 10**7
TOPUP_ATTEMPTS_PER_HOUR = env.int("TOPUP_ATTEMPTS_PER_HOUR", 10)
TOPUP_NEW_CARDS_PER_DAY = env.int("TOPUP_NEW_CARDS_PER_DAY", 3)
TOPUP_WORKSPACES_PER_CARD = env.int("TOPUP_WORKSPACES_PER_CARD", 3)
# A form may end on the pages where people pay.
PAYMENT_ORIGINS = env.list(
    "PAYMENT_ORIGINS",
    default=["https://checkout.stripe.com", "https://billing.stripe.com"]
    if STRIPE_SECRET_KEY
    else [],
)
if STRIPE_SECRET_KEY and STRIPE_API_BASE != "https://api.stripe.com":
    PAYMENT_ORIGINS = [*PAYMENT_ORIGINS, STRIPE_API_BASE]

# -- Browser security -------------------------------------------------------------------
CSRF_FAILURE_VIEW = "accounts.views_errors.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
if SECURE:
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, *PAYMENT_ORIGINS],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "report-uri": "/csp-report",
    }
}

# -- Language, time, static files, mail -------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("ru", "Русский")]
LOCALE_PATHS = [BASE_DIR / "locale"]
# A year, for strangers: whoever signs in has a language of their own.
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SECURE = SECURE
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]
# Static files are small: Django may read them whole to send them from a thread.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(DATA_DIR / "static")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}


def mail_server(url: str) -> dict[str, Any]:
    """Read the mail server's address; one that is none is a problem for config.startup."""
    try:
        return dict(env.email_url_config(url))
    except ImproperlyConfigured:
        CONFIGURATION_PROBLEMS.append(
            "EMAIL_URL is no address of a mail server; write smtp+tls://user:password@host:587."
        )
        return dict(env.email_url_config("filemail:"))


MAIL = mail_server(env.str("EMAIL_URL", "") or "filemail:")
EMAIL_BACKEND = MAIL["EMAIL_BACKEND"]
EMAIL_FILE_PATH = str(DATA_DIR / "mail")
EMAIL_HOST = MAIL["EMAIL_HOST"] or "localhost"
EMAIL_PORT = MAIL["EMAIL_PORT"] or 25
EMAIL_HOST_USER = MAIL["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD = MAIL["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS = MAIL.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = MAIL.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "Tollgate <noreply@localhost>")
# Who is told when the books do not add up or a provider's bill drifts from ours.
OPERATOR_EMAILS: list[str] = env.list("OPERATOR_EMAILS", default=[])

# -- Management API -----------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_PARSER_CLASSES": ["common.api.JsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "common.api.OnlyJson",
    "DEFAULT_SCHEMA_CLASS": "accounts.api_schema.Schema",
    "EXCEPTION_HANDLER": "common.api.answer",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tollgate management API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_PATCH": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["accounts.api_schema.finish"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}

# -- Webhooks of customers ----------------------------------------------------------------
# host:port that may be reached although they are not public, or by http: on purpose only.
WEBHOOK_ALLOWED_TARGETS: list[str] = env.list("WEBHOOK_ALLOWED_TARGETS", default=[])

# -- EVM chains ---------------------------------------------------------------------------
# Empty: no crypto is taken. Endpoints that hold a secret: CHAIN_RPC_1=https://…,https://…
CHAINS_FILE = env.str("CHAINS_FILE", "")
CHAIN_RPC: dict[int, list[str]] = {
    int(name.removeprefix("CHAIN_RPC_")): [url.strip() for url in urls.split(",") if url.strip()]
    for name, urls in env.ENVIRON.items()
    if name.startswith("CHAIN_RPC_") and name.removeprefix("CHAIN_RPC_").isdigit()
}
CHAIN_LOOK_S = env.float("CHAIN_LOOK_S", 15.0)

# -- Celery -----------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_BROKER_CONNECTION_TIMEOUT = 4
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # What a dead worker had taken is given to another; longer than any task may run.
    "visibility_timeout": 4000,
    "socket_timeout": 10,
    "socket_connect_timeout": 4,
    "socket_keepalive": True,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "proxy.tasks.sweep", "schedule": 60.0, "options": {"expires": 60}},
    "heartbeat": {"task": "proxy.tasks.heartbeat", "schedule": 30.0, "options": {"expires": 30}},
    "spool": {"task": "proxy.tasks.watch_spool", "schedule": 60.0, "options": {"expires": 60}},
    "keeping": {"task": "proxy.tasks.tidy_kept", "schedule": 20.0, "options": {"expires": 20}},
    "roll-up": {"task": "billing.tasks.roll_up", "schedule": 30.0, "options": {"expires": 30}},
    "alerts": {"task": "billing.tasks.send_alerts", "schedule": 60.0, "options": {"expires": 60}},
    "webhooks": {
        "task": "accounts.tasks.deliver_webhooks",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "staff": {"task": "accounts.tasks.tend_staff", "schedule": 60.0, "options": {"expires": 60}},
    "forget-webhooks": {"task": "accounts.tasks.forget_webhooks", "schedule": crontab(minute=51)},
    "forget-events": {
        "task": "billing.tasks.forget_stripe_events",
        "schedule": crontab(minute=57),
    },
    "forget-answers": {"task": "accounts.tasks.forget_answers", "schedule": crontab(minute=47)},
    # When providers have closed the day before; it asks for the days before that again.
    "provider-reports": {
        "task": "proxy.tasks.reconcile_providers",
        "schedule": crontab(minute=43, hour=6),
        "options": {"time_limit": 3600},
    },
    "exports": {"task": "proxy.tasks.tidy_exports", "schedule": 60.0, "options": {"expires": 60}},
    "partitions": {"task": "billing.tasks.make_partitions", "schedule": crontab(minute=7)},
    "verify-ledger": {"task": "billing.tasks.verify_ledger", "schedule": crontab(minute=17)},
    "ledger-checkpoint": {
        "task": "billing.tasks.make_ledger_checkpoint",
        "schedule": crontab(minute=37, hour=3, day_of_month=2),
    },
    "chains": {
        "task": "billing.tasks.watch_chains",
        "schedule": CHAIN_LOOK_S,
        "options": {"expires": CHAIN_LOOK_S},
    },
    "chain-balances": {
        "task": "billing.tasks.reconcile_chains",
        "schedule": crontab(minute=53, hour=4),
    },
    "poll-payments": {
        "task": "billing.tasks.poll_payments",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "auto-top-up": {
        "task": "billing.tasks.top_up_automatically",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "payment-reconciliation": {
        "task": "billing.tasks.reconcile_payments",
        "schedule": crontab(minute=23, hour=7),
    },
    "expire-grants": {
        "task": "billing.tasks.expire_grants",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
}

# -- Product ----------------------------------------------------------------------------
API_KEY_PREFIX = env.str("API_KEY_PREFIX", "sk-tg-")
TOKEN_VALUE_NANOS = nanos_from_usd(env.str("TOKEN_VALUE_USD", "0.0025"))
SIGNUP_GRANT_NANOS = nanos_from_usd(env.str("SIGNUP_GRANT_USD", "5" if DEMO else "0"))
MIN_OUTPUT_TOKENS = env.int("MIN_OUTPUT_TOKENS", 256)
DRIFT_ALERT_PERCENT = env.float("DRIFT_ALERT_PERCENT", 1.0)
LOW_BALANCE_NANOS = nanos_from_usd(env.str("LOW_BALANCE_USD", "1"))

# -- Staff ------------------------------------------------------------------------------
# Above this a second member of staff approves; what one person gave in a day is added up.
APPROVAL_NANOS = nanos_from_usd(env.str("APPROVAL_USD", "100"))
APPROVAL_TTL_H = env.int("APPROVAL_TTL_H", 72)
# How long the use of a second factor opens the staff's door.
STAFF_MFA_HOURS = env.float("STAFF_MFA_HOURS", 12.0)
IMPERSONATION_MINUTES = env.int("IMPERSONATION_MINUTES", 30)

# -- Gateway ----------------------------------------------------------------------------
HOLD_TTL_S = env.int("HOLD_TTL_S", 660)
REQUEST_DEADLINE_S = env.int("REQUEST_DEADLINE_S", 590)
CONNECT_TIMEOUT_S = env.float("CONNECT_TIMEOUT_S", 5.0)
FIRST_BYTE_TIMEOUT_S = env.float("FIRST_BYTE_TIMEOUT_S", 300.0)
IDLE_TIMEOUT_S = env.float("IDLE_TIMEOUT_S", 120.0)
DRAIN_TIMEOUT_S = env.float("DRAIN_TIMEOUT_S", 60.0)
HEAD_TIMEOUT_S = env.float("HEAD_TIMEOUT_S", 10.0)
BODY_TIMEOUT_S = env.float("BODY_TIMEOUT_S", 30.0)
KEEPALIVE_S = env.float("KEEPALIVE_S", 15.0)
STREAM_PACE_S = env.float("STREAM_PACE_S", 0.01)
HEARTBEAT_S = env.float("HEARTBEAT_S", 5.0)
SILENT_AFTER_S = env.float("SILENT_AFTER_S", 20.0)
CHECKPOINT_S = env.float("CHECKPOINT_S", 1.0)
SPOOL_DIR = Path(env.str("SPOOL_DIR", str(DATA_DIR / "spool"))).expanduser()
BAD_KEYS_PER_MINUTE = env.int("BAD_KEYS_PER_MINUTE", 120)
CLIENT_CONNECTIONS = env.int("CLIENT_CONNECTIONS", 10_000)
UPSTREAM_CONNECTIONS = env.int("UPSTREAM_CONNECTIONS", 4000)
SHUTDOWN_GRACE_S = env.float("SHUTDOWN_GRACE_S", 30.0)
GENERATION_TTL_H = env.int("GENERATION_TTL_H", 24)
# How long a workspace may choose to keep its prompts; 0: none may.
PROMPT_LOG_MAX_DAYS = min(30, max(0, env.int("PROMPT_LOG_MAX_DAYS", 30)))
PROMPT_LOG_BYTES = env.int("PROMPT_LOG_BYTES", 262_144)
SANDBOX_URL = env.str("SANDBOX_URL", "").rstrip("/")
SANDBOX_TOKEN = env.str("SANDBOX_TOKEN", "")

# -- Figures for Prometheus, on an internal address; 0: none -------------------------------
METRICS_PORT = env.int("METRICS_PORT", 0)
METRICS_ADDR = env.str("METRICS_ADDR", "127.0.0.1")
METRICS_DIR = Path(env.str("METRICS_DIR", str(DATA_DIR / "metrics"))).expanduser()

# -- Traces for OpenTelemetry (requirements-otel.txt); empty: none ------------------------
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", "tollgate")

# -- Logs: JSON lines with the request id; never a key, never a prompt -------------------
LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
LOGGING_CONFIG = None
configure_logging(level=LOG_LEVEL, plain=env.bool("LOG_PLAIN", False))
