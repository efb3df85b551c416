"""
`make bench`: what one gateway process forwards with everything on.

A stub upstream, the gateway, PostgreSQL, Redis and the load generator share this machine;
compare ratios of one run, not numbers of two machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from tests import servers  # noqa: E402
from tests.bench import tools  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PORT = 18765
RPM = 1_000_000


def main() -> int:
    """Run all measurements; 1 where the books do not agree with the answers."""
    servers.require(durable=True)
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    os.environ["PYTHONPATH"] = f"{ROOT / 'platform'}:{ROOT}"
    os.environ["LOG_LEVEL"] = "WARNING"
    try:
        return measure()
    finally:
        servers.stop()


def measure() -> int:
    """Set up a shop, run the loads, check the books."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    with tools.upstream() as (stub, upstream_port):
        key, workspace_id = open_shop(upstream_port)
        with gateway() as pid:
            runs = [run(key, pid, connections=8, seconds=2)]
            for _ in range(ROUNDS):
                runs += [run(key, pid, connections=n, seconds=SECONDS) for n in (1, 32)]
    return report(runs, stub, workspace_id)


def run(key: str, pid: int, *, connections: int, seconds: float) -> dict[str, Any]:
    """Measure one load; CPU is the gateway process's own, per answer."""
    before = cpu_seconds(pid)
    result = tools.load(port=PORT, key=key, connections=connections, seconds=seconds)
    spent = cpu_seconds(pid) - before
    cpu_ms = round(spent / max(1, result["answers"]) * 1000, 3)
    return {"connections": connections, **result, "gateway_cpu_ms": cpu_ms}


def report(runs: list[dict[str, Any]], stub: str, workspace_id: int) -> int:
    """Print the figures and whether the books agree."""
    from django.db import connection

    from billing import invariants
    from billing.models import Usage

    books = invariants.check()
    rows = Usage.objects.filter(workspace_id=workspace_id, state="settled").count()
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('fsync'), current_setting('synchronous_commit')")
        durable = cursor.fetchone() == ("on", "on")
    answers = sum(one["answers"] for one in runs)
    facts = {
        "stub": stub,
        "usage_rows": rows,
        "answers": answers,
        "ledger_ok": books.ok,
        "durable_commits": durable,
    }
    for one in (*runs[1:], facts):
        sys.stdout.write(json.dumps(one) + "\n")
    limited = not any(one["without_limit_headers"] for one in runs)
    # wrk stops without waiting for its last answers: these are charged and not counted.
    agree = 0 <= rows - answers <= 32 * len(runs)
    return 0 if books.ok and durable and limited and agree else 1


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway() -> Iterator[int]:
    """Run one gateway process; give its process id."""
    import httpx

    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(PORT),
         "--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log",
         "--no-proxy-headers"],
        cwd=ROOT,
    )  # fmt: skip
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{PORT}/livez").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def open_shop(upstream_port: int) -> tuple[str, int]:
    """Make a customer with money, caps and a rate limit, and a model at the stub."""
    from datetime import UTC, datetime

    from accounts import keys, signup
    from accounts.models import Tier, Workspace
    from billing import grants, prices
    from billing.pricing import Rates
    from common import crypto
    from proxy.models import Model, Provider, Route

    sealed, key_id = crypto.seal(b"stub")
    provider = Provider.objects.create(
        slug="stub",
        kind="openai",
        base_url=f"http://127.0.0.1:{upstream_port}/v1",
        api_key_encrypted=sealed,
        api_key_key_id=key_id,
    )
    model = Model.objects.create(
        slug="bench/model", name="bench", owned_by="bench", kind="chat",
        context_length=8000, max_output_tokens=1000,
    )  # fmt: skip
    Route.objects.create(model=model, provider=provider, upstream_model="stub")
    past = datetime(2026, 1, 1, tzinfo=UTC)
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    prices.set_price(subject=model.slug, role="retail", rates=rates, now=past)
    Tier.objects.update(max_rpm=RPM, default_daily_nanos=10**15, max_daily_nanos=10**15,
                        default_monthly_nanos=10**15, max_monthly_nanos=10**15)  # fmt: skip
    user = signup.register(email="bench@example.com", password="bench-bench-1", verified=True)
    workspace = Workspace.objects.get(personal_of=user)
    _, secret = keys.create(
        name="bench", workspaces=[workspace], user=user, by=user, scopes=["chat"], rpm=RPM
    )
    grants.grant(workspace=workspace, asset="USD", amount=10**15, reason="bench", paid=True)
    return secret, workspace.pk


if __name__ == "__main__":
    sys.exit(main())
