"""
DATA_DIR/.env: the secrets and addresses of one instance.

Secrets are made once and never written over: losing them would lose every key and every
provider secret in the database.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

HEADER = "# Written by `make run`. Keep the secrets: the database cannot be read without them.\n"


def keyring() -> str:
    """Return a new random key in the form `id:base64` that settings read."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return f"k{secrets.token_hex(3)}:{key}"


def password() -> str:
    """Return a new random password that needs no quoting anywhere."""
    return secrets.token_urlsafe(32).replace("-", "x").replace("_", "y")


SECRETS: Mapping[str, Callable[[], str]] = {
    "SECRET_KEY": password,
    "KEY_PEPPER": keyring,
    "ENCRYPTION_KEY": keyring,
    "POSTGRES_PASSWORD": password,
    "REDIS_PASSWORD": password,
    "SANDBOX_TOKEN": password,
}


def read(*, path: Path) -> dict[str, str]:
    """Return the values of a .env file; nothing if there is none."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def with_secrets(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values with every missing secret made up."""
    missing = {name: make() for name, make in SECRETS.items() if not values.get(name)}
    return {**values, **missing}


def write(*, path: Path, values: Mapping[str, str]) -> None:
    """Replace the file in one step, readable by its owner only."""
    text = HEADER + "".join(f"{name}={value}\n" for name, value in values.items())
    write_private(path=path, text=text)


def write_private(*, path: Path, text: str) -> None:
    """Write a file of mode 0600 that is never seen half-written."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
