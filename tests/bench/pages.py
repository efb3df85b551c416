"""Times pages of the dashboard: their statements, and the whole as the browser is told it."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import django

TIMES = int(os.environ.get("BENCH_TIMES", "50"))
# A `name:` stands for what exists: a key, the newest request, a webhook.
PAGES = (
    "/dashboard",
    "/dashboard?show=latency",
    "/dashboard/keys",
    "/dashboard/keys/{key}",
    "/dashboard/usage",
    "/dashboard/usage?by=key",
    "/dashboard/usage?by=workspace",
    "/dashboard/usage?by=day",
    "/dashboard/usage?show=latency",
    "/dashboard/usage?since={long_ago}&by=key",
    "/dashboard/logs",
    "/dashboard/logs?status=failed",
    "/dashboard/logs?model=bench/model",
    "/dashboard/logs?key_id={key}",
    "/dashboard/logs/{request}",
    "/dashboard/exports",
    "/dashboard/billing",
    "/dashboard/limits",
    "/dashboard/team",
    "/dashboard/team/audit",
    "/dashboard/settings",
    "/dashboard/settings/webhooks",
    "/dashboard/quickstart",
    "/dashboard/playground",
    "/dashboard/pricing",
    "/models",
    "/status",
)
# Sums over all customers.
STAFF_PAGES = (
    "/admin/billing/usage/earnings/",
    "/admin/billing/usage/earnings/?days=90",
)


class Stopwatch:
    """Sums up the time that statements take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - began


def main() -> list[dict[str, Any]]:
    """Return the figures of every page, of the customer with most calls and of one with few."""
    from django.core.management import call_command

    from billing.models import KeyMeter

    call_command("collectstatic", interactive=False, verbosity=0)
    meters = KeyMeter.objects.order_by("-spent").select_related("key__user")
    count = meters.count()
    return [
        row | {"whose": whose}
        for whose, place in (("the largest customer", 0), ("a median customer", count // 2))
        for row in of_person(meters[place].key.user, PAGES)
    ] + [row | {"whose": "staff"} for row in of_staff()]


def of_staff() -> list[dict[str, Any]]:
    """Time pages of the admin site."""
    from django.test import Client

    from tests import staffing

    root = staffing.member("root@example.com", superuser=True)
    client = staffing.sign_in(Client(HTTP_HOST="127.0.0.1"), root)
    return [timed(client, path, {}) for path in STAFF_PAGES]


def of_person(person: Any, paths: tuple[str, ...]) -> list[dict[str, Any]]:
    """Time pages of somebody's own workspace."""
    from django.test import Client

    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    facts = facts_of(person)
    return [timed(client, path, facts) for path in paths]


def facts_of(person: Any) -> dict[str, str]:
    """What stands in the addresses of pages."""
    from datetime import UTC, datetime, timedelta

    from accounts.models import Workspace
    from billing.models import Usage
    from common import ids

    place = Workspace.objects.get(personal_of=person)
    newest = Usage.objects.filter(workspace=place).order_by("-id").values_list("id", flat=True)[0]
    return {
        "key": place.api_keys.order_by("-pk")[0].public_id,
        "request": ids.form("req_", newest),
        "long_ago": (datetime.now(UTC) - timedelta(days=100)).date().isoformat(),
    }


def timed(client: Any, path: str, facts: dict[str, str]) -> dict[str, Any]:
    """
    Ask for a page some times, as Server-Timing tells it; the first time is not counted.

    :raises RuntimeError: it answers something else than the page
    """
    from django.db import connection

    queries, whole = [], []
    for _ in range(TIMES + 1):
        stopwatch = Stopwatch()
        with connection.execute_wrapper(stopwatch):
            answer = client.get(path.format(**facts))
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answered {answer.status_code}")
        whole.append(float(answer["Server-Timing"].partition("dur=")[2]))
        queries.append(stopwatch.seconds * 1000)
    return {
        "page": path,
        "queries_ms": round(statistics.median(queries[1:]), 1),
        "p50_ms": round(statistics.median(whole[1:]), 1),
        "p95_ms": round(statistics.quantiles(whole[1:], n=20)[-1], 1),
    }


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(main()) + "\n")
