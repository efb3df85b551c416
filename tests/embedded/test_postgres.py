from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from embedded import environment, ports, postgres
from embedded.program import start
from embedded.refusal import Refusal
from tests.product import until


class TestProgram:
    def test_it_runs_in_a_folder_only_we_may_enter_and_wants_its_password(
        self, tmp_path: Path
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        password, port = environment.password(), ports.choose()
        program = postgres.program(folder=closed / "postgres", password=password, port=port)
        child = start(program=program, logs=tmp_path)
        try:
            until(program.is_ready)
            url = postgres.url(password=password, port=port)
            with psycopg.connect(url) as connection:
                row = connection.execute(
                    "select current_setting('fsync'), rolsuper from pg_roles"
                    " where rolname = current_user"
                ).fetchone()
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(postgres.url(password="wrong", port=port))
        finally:
            child.process.send_signal(program.stop_signal)
            child.process.wait(timeout=30)

        assert row == ("on", False)
        assert closed.stat().st_mode & 0o777 == 0o700
        assert (closed / "postgres").stat().st_mode & 0o777 == 0o700

    def test_data_of_another_version_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "PG_VERSION").write_text("17\n")
        user = postgres.ordinary_user()
        if user:
            os.chown(tmp_path / "data", user.uid, user.gid)

        with pytest.raises(Refusal, match="made by PostgreSQL 17"):
            postgres.program(folder=tmp_path, password="x", port=1)

    def test_data_of_another_user_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        user = postgres.ordinary_user()

        with pytest.raises(Refusal, match="belongs to"):
            postgres.require_owner(
                folder=tmp_path, uid=os.geteuid() + 1 if user is None else user.uid
            )
