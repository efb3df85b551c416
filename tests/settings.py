"""The product's settings with throw-away servers, a fast password hash and mail in memory."""

from __future__ import annotations

from tests import servers

# Before the settings are read: they read the environment.
servers.require()

from common import redis  # noqa: E402
from config.settings import *  # noqa: E402, F403 - settings are a flat list of names

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    # The manifest of hashed names exists only after collectstatic.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# A test's transaction may wait for a process, and any of its questions for a busy machine.
DATABASES["default"]["OPTIONS"]["options"] += " -c idle_in_transaction_session_timeout=0"  # noqa: F405 - from the settings above
DATABASES["default"]["OPTIONS"]["connect_timeout"] = 30  # noqa: F405
CACHES["default"]["OPTIONS"] = {"socket_timeout": 10.0, "socket_connect_timeout": 10.0}  # noqa: F405
redis.TIMEOUT_S = 1.0
# A sweep waits for one heartbeat more before it takes a silent gateway for dead.
HEARTBEAT_S = 0.4
# whitenoise warns where collectstatic never ran.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - from the settings above
