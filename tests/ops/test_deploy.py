"""What is written for operators: containers, units, alerts, dashboard; linted where a tool is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from billing.models import Alert
from config import reference
from proxy.meters import meters
from proxy.vitals import Vitals

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "KEY_PEPPER", "ENCRYPTION_KEY")
OURS = ("web", "worker", "beat", "migrate")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((DEPLOY / "prometheus" / "tollgate.rules.yaml").read_text())
    found: list[dict[str, Any]] = loaded["groups"][0]["rules"]
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


class TestCompose:
    def test_nothing_starts_without_its_secrets(self) -> None:
        text = (ROOT / "compose.yaml").read_text()
        for name in SECRETS:
            uses = re.findall(r"\$\{" + name + r"\b[^}]*\}", text)
            assert uses
            assert all(use.startswith(f"${{{name}:?") for use in uses), name

    def test_only_the_proxy_is_published(self, compose: dict[str, Any]) -> None:
        published = {name for name, each in compose["services"].items() if each.get("ports")}
        assert published == {"proxy"}

    @pytest.mark.parametrize("name", OURS)
    def test_our_processes_may_write_to_their_data_only(
        self, compose: dict[str, Any], name: str
    ) -> None:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["data:/data"]

    def test_each_waits_for_what_it_needs(self, compose: dict[str, Any]) -> None:
        services = compose["services"]
        for name in ("postgres", "redis"):
            assert services[name]["healthcheck"]["test"]
        for name in ("web", "worker", "beat"):
            waits = {key: each["condition"] for key, each in services[name]["depends_on"].items()}
            assert waits["migrate"] == "service_completed_successfully"
            assert waits["postgres"] == "service_healthy"

    def test_every_variable_is_one_that_the_settings_read(self, compose: dict[str, Any]) -> None:
        known = {variable.name for variable in reference.variables()}
        assert set(compose["services"]["web"]["environment"]) <= known

    @pytest.mark.parametrize("name", OURS)
    def test_any_other_variable_comes_from_the_same_file(
        self, compose: dict[str, Any], name: str
    ) -> None:
        assert compose["services"][name]["env_file"] == [".env"]

    def test_what_its_first_lines_tell_to_run_is_there(self) -> None:
        first = (ROOT / "compose.yaml").read_text().splitlines()[0]
        for path in re.findall(r"deploy/[\w.-]+", first):
            assert (ROOT / path).exists(), path

    def test_backups_are_made_by_a_pg_dump_of_the_server_s_version(
        self, compose: dict[str, Any]
    ) -> None:
        [dumps] = re.findall(r"^ARG POSTGRES=(\d+)$", (ROOT / "Dockerfile").read_text(), re.M)
        assert compose["services"]["postgres"]["image"].startswith(f"postgres:{dumps}-")

    def test_the_grace_is_longer_than_that_of_the_gateway(self, compose: dict[str, Any]) -> None:
        assert compose["services"]["web"]["stop_grace_period"] == "60s"


class TestDockerfile:
    def test_it_runs_as_nobody_in_particular_and_tells_its_health(self) -> None:
        text = (ROOT / "Dockerfile").read_text()
        last = text.rpartition("\nFROM ")[2]
        assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
        assert "HEALTHCHECK" in last
        assert "--require-hashes" in text
        assert not re.search(r"^(ENV|ARG).*(KEY|PASSWORD|SECRET)", text, re.MULTILINE)

    def test_it_copies_what_there_is(self) -> None:
        text = (ROOT / "Dockerfile").read_text()
        for name in re.findall(r"^COPY (?!--)(\S+) ", text, re.MULTILINE):
            assert (ROOT / name).exists(), name
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        assert ignored[0] == "*", "what is not named is not sent: no .env, no data"

    def test_the_command_stops_within_its_grace(self) -> None:
        for path in (ROOT / "Dockerfile", DEPLOY / "systemd" / "tollgate-web@.service"):
            assert "--timeout-graceful-shutdown=5" in path.read_text()


class TestMakeEnv:
    def test_its_secrets_are_fit_for_a_start_and_nothing_is_overwritten(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "env"
        made = run(str(DEPLOY / "make-env"), "example.org", str(file))
        assert made.returncode == 0, made.stderr
        assert file.stat().st_mode & 0o077 == 0
        lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
        assert len({lines[name] for name in SECRETS}) == len(SECRETS)
        assert lines["BASE_URL"] == f"https://{lines['HOST_NAME']}"
        assert lines["HOST_NAME"] in lines["ALLOWED_HOSTS"].split(",")
        for url, password in (("DATABASE_URL", "POSTGRES"), ("REDIS_URL", "REDIS")):
            assert f":{lines[f'{password}_PASSWORD']}@" in lines[url]
        start = (
            "import django; django.setup(); from config import startup;"
            "import sys; sys.exit('; '.join(startup.problems()) or None)"
        )
        given = {name: lines[name] for name in ("SECRET_KEY", "KEY_PEPPER", "ENCRYPTION_KEY")}
        terms = given | {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        }
        fit = run(sys.executable, "-c", start, **terms, EMAIL_URL=lines["EMAIL_URL"])
        assert fit.returncode == 0, fit.stderr
        unfit = run(sys.executable, "-c", start, **terms, EMAIL_URL="nowhere")
        assert "EMAIL_URL is no address" in unfit.stderr
        before = file.read_text()
        assert run(str(DEPLOY / "make-env"), "example.org", str(file)).returncode != 0
        assert file.read_text() == before


class TestCaddyfile:
    def test_what_all_processes_share_takes_none_of_them_out(self) -> None:
        [address] = re.findall(r"health_uri (\S+)", (DEPLOY / "Caddyfile").read_text())
        assert address.partition("?")[0] == "/readyz"
        assert {"exclude=database", "exclude=redis"} <= set(address.partition("?")[2].split("&"))


class TestUnits:
    @pytest.mark.parametrize("path", sorted((DEPLOY / "systemd").glob("*.service")))
    def test_a_unit_is_closed_in_and_tells_the_process_to_stop(self, path: Path) -> None:
        text = path.read_text()
        for line in ("User=tollgate", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077"):
            assert f"\n{line}\n" in text
        assert "KillSignal=SIGTERM" in text
        assert "Environment=" in text
        assert not re.search(r"(KEY|PASSWORD)=", text)


class TestAlerts:
    def test_each_alert_has_its_test_and_says_what_to_do(self, rules: list[dict[str, Any]]) -> None:
        tests = yaml.safe_load((DEPLOY / "prometheus" / "tollgate.tests.yaml").read_text())
        fired = {
            each["alertname"]
            for test in tests["tests"]
            for each in test["alert_rule_test"]
            if each["exp_alerts"]
        }
        assert fired == {rule["alert"] for rule in rules}
        assert all(rule["annotations"]["todo"] for rule in rules)

    @pytest.mark.django_db(transaction=True)
    def test_alerts_and_dashboard_ask_for_figures_that_exist(
        self, rules: list[dict[str, Any]]
    ) -> None:
        board = json.loads((DEPLOY / "grafana" / "tollgate.json").read_text())
        asked = [rule["expr"] for rule in rules]
        asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        names = {name for expr in asked for name in re.findall(r"tollgate_\w+", expr)}
        known = {family.name for family in Vitals().collect()}
        for each in vars(meters()).values():
            metric = getattr(each, "metric", each)
            if hasattr(metric, "describe"):
                known |= {family.name for family in metric.describe()}
        assert {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in names} <= known
        kinds = {kind for expr in asked for kind in re.findall(r'kind!?="([a-z]+\.[a-z]+)"', expr)}
        assert kinds <= set(Alert.Kind.values)
