from __future__ import annotations

import stat
from pathlib import Path

from common.crypto_keys import parse_keyring
from embedded import environment


class TestWithSecrets:
    def test_nothing_that_exists_is_written_over(self) -> None:
        kept = environment.with_secrets({"SECRET_KEY": "mine", "KEY_PEPPER": ""})

        assert kept["SECRET_KEY"] == "mine"
        assert kept["KEY_PEPPER"]

    def test_key_rings_are_what_settings_read(self) -> None:
        made = environment.with_secrets({})

        for name in ("KEY_PEPPER", "ENCRYPTION_KEY"):
            (key,) = parse_keyring(made[name], name=name).values()
            assert len(key) == 32

    def test_no_two_secrets_are_alike(self) -> None:
        made = list(environment.with_secrets({}).values())

        assert len(set(made)) == len(made)


class TestWrite:
    def test_what_is_written_is_read_again_and_private(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        values = environment.with_secrets({"BASE_URL": "http://127.0.0.1:8000"})

        environment.write(path=path, values=values)

        assert environment.read(path=path) == values
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == [".env"]
