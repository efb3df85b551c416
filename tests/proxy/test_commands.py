from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts import keys, signup
from accounts.models import ApiKey, ServiceAccount, Workspace
from billing import limits
from proxy.models import Model

pytestmark = pytest.mark.django_db

CATALOGUE = """
providers:
  - {slug: p, kind: openai, base_url: "https://example.com/v1"}
models:
  - slug: a/b
    kind: chat
    context_length: 1000
    max_output_tokens: 100
    price: {prompt: 1.00, completion: 2.00}
    routes: [{provider: p, upstream_model: b}]
"""


def run(name: str, *arguments: str) -> str:
    printed = StringIO()
    call_command(name, *arguments, stdout=printed)
    return printed.getvalue()


def run_json(name: str, *arguments: str) -> Any:
    return json.loads(run(name, *arguments, "--json"))


@pytest.fixture
def workspace() -> Workspace:
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    return signup.welcome(user=user)


class TestLoadCatalogue:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "catalogue.yaml"
        path.write_text(CATALOGUE)
        return path

    def test_it_loads_and_says_what_it_did(self, path: Path) -> None:
        assert "would change" in run("load_catalogue", str(path), "--dry-run")
        assert not Model.objects.exists()
        assert "add model a/b" in run("load_catalogue", str(path))
        assert run("load_catalogue", str(path)).startswith("Nothing to change")

    def test_it_speaks_json(self, path: Path) -> None:
        report = run_json("load_catalogue", str(path))
        assert report["dry_run"] is False
        assert [change["what"] for change in report["changes"]] == [
            "provider",
            "model",
            "retail price",
            "route",
        ]

    def test_a_mistake_is_one_line_that_names_the_place(self, path: Path) -> None:
        path.write_text(CATALOGUE.replace("priority", "x").replace("kind: chat", "kinds: chat"))
        with pytest.raises(CommandError, match=r"models\[0\]: .*`kinds?`"):
            run("load_catalogue", str(path))


class TestSweep:
    def test_it_prints_the_four_counts(self) -> None:
        assert run_json("sweep") == {"settled": 0, "voided": 0, "unknown": 0, "pending": 0}
        assert run("sweep").strip() == "0 settled, 0 voided, 0 unknown, 0 pending"


class TestDoctor:
    def test_it_fails_when_something_does(self, capsys: pytest.CaptureFixture[str]) -> None:
        printed = StringIO()
        with pytest.raises(SystemExit) as left:
            call_command("doctor", "--json", stdout=printed)
        assert left.value.code == 1
        body = json.loads(printed.getvalue())
        assert body["ok"] is False
        checks = {line["name"]: line for line in body["checks"]}
        assert checks["database"]["ok"] is True
        assert checks["worker"]["ok"] is False
        assert checks["worker"]["todo"]

    def test_it_writes_a_line_for_each_check(self) -> None:
        printed = StringIO()
        with pytest.raises(SystemExit):
            call_command("doctor", stdout=printed)
        assert "ok      database: PostgreSQL" in printed.getvalue()
        assert "failed  worker: " in printed.getvalue()


class TestSeedDemo:
    def test_a_second_run_with_the_first_ones_output_prints_the_same(
        self, tmp_path: Path, settings: Settings
    ) -> None:
        settings.SANDBOX_URL, settings.SANDBOX_TOKEN = "http://127.0.0.1:9", "token"
        settings.DATA_DIR = tmp_path
        first = run_json("seed_demo")
        (tmp_path / "demo.json").write_text(json.dumps({**first, "base_url": "http://x"}))
        assert run_json("seed_demo") == first
        assert set(first) == {
            "workspace_id",
            "api_key",
            "email",
            "password",
            "staff_email",
            "staff_password",
            "staff_totp_secret",
            "second_staff_email",
            "second_staff_password",
            "second_staff_totp_secret",
        }

    def test_a_broken_file_is_as_good_as_none(self, tmp_path: Path, settings: Settings) -> None:
        settings.SANDBOX_URL, settings.SANDBOX_TOKEN = "http://127.0.0.1:9", "token"
        for content in ("{", "[1]", '{"api_key": 3}'):
            (tmp_path / "x").write_text(content)
            assert run_json("seed_demo", "--previous", str(tmp_path / "x"))["api_key"]

    def test_without_a_sandbox_there_is_no_demo(self, settings: Settings) -> None:
        settings.SANDBOX_URL = ""
        with pytest.raises(CommandError, match="SANDBOX_URL"):
            run("seed_demo")


class TestIssueKey:
    def test_the_workspaces_owner_gets_a_key_for_inference(self, workspace: Workspace) -> None:
        issued = run_json("issue_key", "--workspace", workspace.public_id)
        record = keys.find(text=issued["key"])
        assert record is not None
        assert record.public_id == issued["id"]
        assert issued["owner"] == "a@example.com"
        assert "chat" in issued["scopes"]
        assert issued["daily_usd"] == "100.00"

    def test_everything_can_be_said(self, workspace: Workspace) -> None:
        issued = run_json(
            "issue_key", "--workspace", workspace.public_id, "--service-account", "bot",
            "--name", "CI", "--scope", "chat", "--scope", "models:read", "--model", "a/b",
            "--rpm", "100000", "--tpm", "5000", "--max-streams", "3",
            "--daily-usd", "none", "--monthly-usd", "2.5",
            "--ip", "10.0.0.0/8", "--expires", "2999-01-01",
        )  # fmt: skip
        key = ApiKey.objects.get()
        assert key.service_account == ServiceAccount.objects.get(name="bot")
        assert (key.name, key.scopes, key.models) == ("CI", ["chat", "models:read"], ["a/b"])
        assert (key.rpm, key.ips) == (100_000, ["10.0.0.0/8"])
        assert (key.tpm, key.max_streams) == (issued["tpm"], issued["max_streams"]) == (5000, 3)
        assert limits.key_caps(key=key) == (None, 2_500_000_000)
        assert issued["expires_at"] == "2999-01-01T00:00:00+00:00"
        run("issue_key", "--workspace", workspace.public_id, "--service-account", "bot")
        assert ServiceAccount.objects.count() == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            ["--owner", "nobody@example.com"],
            ["--scope", "fly"],
            ["--scope", "chat", "--scope", "keys:manage"],
            ["--daily-usd", "-1"],
            ["--monthly-usd", "lots"],
            ["--ip", "here"],
            ["--expires", "soon"],
            ["--expires", "2001-01-01"],
            ["--rpm", "-1"],
        ],
    )
    def test_a_mistake_makes_no_key(self, workspace: Workspace, wrong: list[str]) -> None:
        with pytest.raises(CommandError):
            run("issue_key", "--workspace", workspace.public_id, *wrong)
        assert not ApiKey.objects.exists()

    def test_an_unknown_workspace_is_refused(self) -> None:
        with pytest.raises(CommandError):
            run("issue_key", "--workspace", "ws_none")
