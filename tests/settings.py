"""The product's settings with throw-away servers, a fast password hash and mail in memory."""

from __future__ import annotations

from tests import servers

# Before the settings are read: they read the environment.
servers.require()

from config.settings import *  # noqa: E402, F403 - settings are a flat list of names

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    # The manifest of hashed names exists only after collectstatic.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# A sweep waits for one heartbeat more before it takes a silent gateway for dead.
HEARTBEAT_S = 0.4
# whitenoise warns where collectstatic never ran.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405 - from the settings above
