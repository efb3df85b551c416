from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts import keyrecord, signup
from accounts.models import Membership, User, Workspace


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def answer(*arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return result


@pytest.mark.django_db
class TestCreateUser:
    def test_it_names_the_user_and_the_workspace(self) -> None:
        made = answer("create_user", "--email", "Carol@example.com", "--password", "a-long-pass-1")
        user = User.objects.get(email="carol@example.com")
        assert made == {
            "user_id": user.public_id,
            "workspace_id": Workspace.objects.get(personal_of=user).public_id,
        }
        assert not signup.is_verified(user)

    def test_it_can_count_the_address_as_confirmed(self) -> None:
        run("create_user", "--email", "c@example.com", "--password", "a-long-pass-1", "--verified")
        assert signup.is_verified(User.objects.get(email="c@example.com"))

    def test_it_can_make_the_first_one_of_the_staff(self) -> None:
        run("create_user", "--email", "c@example.com", "--password", "a-long-pass-1", "--superuser")
        user = User.objects.get(email="c@example.com")
        assert (user.is_staff, user.is_superuser) == (True, True)

    def test_a_second_time_is_one_clear_line(self, alice: User) -> None:
        with pytest.raises(CommandError, match=r"^alice@example.com has an account already\.$"):
            run("create_user", "--email", alice.email, "--password", "a-long-pass-1")

    def test_without_json_it_prints_lines(self) -> None:
        out = run("create_user", "--email", "c@example.com", "--password", "a-long-pass-1")
        assert [line.split(": ")[0] for line in out.splitlines()] == ["user_id", "workspace_id"]


class TestCreateWorkspace:
    def test_it_names_the_workspace(self, alice: User) -> None:
        made = answer(
            "create_workspace", "--owner", alice.email, "--name", "Acme", "--external-id", "acme"
        )
        workspace = Workspace.objects.get(external_id="acme")
        assert made == {"workspace_id": workspace.public_id}

    def test_what_is_unknown_is_one_clear_line(self, alice: User) -> None:
        with pytest.raises(CommandError, match="no user x@"):
            run("create_workspace", "--owner", "x@example.com", "--name", "Acme")
        with pytest.raises(CommandError, match="no tier 'gold'"):
            run("create_workspace", "--owner", alice.email, "--name", "Acme", "--tier", "gold")


class TestAddMember:
    def test_it_adds(self, home: Workspace, bob: User) -> None:
        made = answer(
            "add_member", "--workspace", home.public_id, "--email", bob.email, "--role", "viewer"
        )
        membership = Membership.objects.get(workspace=home, user=bob)
        assert made == {"membership_id": membership.public_id, "role": "viewer"}

    def test_an_unknown_role_is_one_clear_line(self, home: Workspace, bob: User) -> None:
        with pytest.raises(CommandError, match="'king'"):
            run("add_member", "--workspace", home.public_id, "--email", bob.email, "--role", "king")


class TestImportKeys:
    def test_it_counts(self, home: Workspace, tmp_path: Path) -> None:
        file = tmp_path / "keys.csv"
        file.write_text("key,name\nold-service-key-0001,Laptop\n", "utf-8")
        arguments = ("import_keys", str(file), "--workspace", home.public_id)
        assert answer(*arguments) == {"added": 1, "already": 0}
        assert answer(*arguments) == {"added": 0, "already": 1}
        assert keyrecord.find(text="old-service-key-0001") is not None

    def test_scopes_and_owner_can_be_given(
        self, alice: User, home: Workspace, tmp_path: Path
    ) -> None:
        file = tmp_path / "keys.txt"
        file.write_text("old-service-key-0001\n", "utf-8")
        place = ("--workspace", home.public_id, "--owner", alice.email)
        run("import_keys", str(file), *place, "--scope", "models:read", "--scope", "usage:read")
        record = keyrecord.find(text="old-service-key-0001")
        assert record is not None
        assert record.scopes == {"models:read", "usage:read"}
        assert record.user_id == alice.pk

    def test_a_file_that_cannot_be_read_is_one_clear_line(self, db: None, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="Cannot read"):
            run("import_keys", str(tmp_path / "none.csv"))
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(CommandError, match="Cannot read"):
            run("import_keys", str(tmp_path / "binary"))


@pytest.mark.django_db
class TestCheckPepper:
    def test_it_is_silent_when_all_is_well(self) -> None:
        assert run("check_pepper") == ""
        assert run("check_pepper") == ""

    def test_another_pepper_is_one_clear_line(self, settings: Settings) -> None:
        run("check_pepper")
        settings.KEY_PEPPERS = dict.fromkeys(settings.KEY_PEPPERS, b"x" * 32)
        with pytest.raises(CommandError, match="another KEY_PEPPER"):
            run("check_pepper")
