"""Times the lists of the management API, first pages and later ones, and the dashboard's pages."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import django

from tests.bench import listrows, pages

BASE = "/api/v1/"
TIMES = int(os.environ.get("BENCH_TIMES", "40"))
LISTS = (
    "keys",
    "keys?limit=100",
    "keys?status=active",
    "keys?status=disabled",
    "usage?group_by=day",
    "usage?group_by=model",
    "usage?group_by=key",
    "usage?group_by=key&limit=100",
    "usage?group_by=day,key",
    "usage?group_by=day,model",
    "usage?group_by=key,model",
    "usage?group_by=workspace",
    "usage?group_by=day&key_id={key}",
    "logs",
    "logs?limit=100",
    "logs?status=failed",
    "logs?key_id={key}",
    "transactions?asset=USD",
    "transactions?asset=TOK",
    "audit-events",
    "audit-events?limit=100",
    "audit-events?action=key.updated",
    "audit-events?action=workspace.renamed",
    "audit-events?target=key_7",
    "audit-events?until={month_ago}",
    "audit-events?since={month_ago}&until={month_ago_end}",
    "webhooks",
    "webhooks/{webhook}/deliveries",
    "webhooks/{webhook}/deliveries?limit=100",
    "top-ups",
    "top-ups?limit=100",
    "top-ups/{top_up}/refunds",
    "cards",
    "deposits",
    "deposits?limit=100",
    "members",
    "members?limit=100",
    "invitations",
    "service-accounts",
    "workspaces",
    "exports",
    "me/sessions",
    "token-packages",
    "prices",
    "balances",
    "limits",
    "alerts",
)


def main() -> list[dict[str, Any]]:
    """Return the median and the 95th percentile of each."""
    from django.core.management import call_command
    from django.test import Client

    from accounts.models import Workspace

    call_command("collectstatic", interactive=False, verbosity=0)
    place = Workspace.objects.select_related("personal_of").order_by("pk")[0]
    client = Client(HTTP_HOST="127.0.0.1", headers={"x-workspace-id": place.public_id})
    client.force_login(
        place.personal_of,  # type: ignore[arg-type]  # the first workspace is somebody's own
        backend="allauth.account.auth_backends.AuthenticationBackend",
    )
    listrows.make()
    names = {
        "key": place.api_keys.order_by("-pk")[0].public_id,
        "webhook": "whk_2",
        "top_up": "top_2",
        "month_ago": f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
        "month_ago_end": f"{datetime.now(UTC) - timedelta(days=29):%Y-%m-%dT%H:%M:%SZ}",
    }
    rows = [row for path in LISTS for row in of_list(client, BASE + path.format(**names))]
    shown = pages.of_person(place.personal_of, pages.PAGES) + pages.of_staff()
    return rows + [row | {"kind": "page", "path": row["page"]} for row in shown]


def of_list(client: Any, path: str) -> list[dict[str, Any]]:
    """Time the first page and, where there is one, the tenth."""
    rows = [timed(client, "list", path)]
    mark = "&" if "?" in path else "?"
    cursor = None
    for _ in range(9):
        place = path if cursor is None else f"{path}{mark}cursor={cursor}"
        cursor = client.get(place).json().get("next_cursor")
        if cursor is None:
            return rows
    late = timed(client, "list", f"{path}{mark}cursor={cursor}")
    return [*rows, late | {"path": f"{rows[0]['path']}, tenth page"}]


def timed(client: Any, kind: str, path: str) -> dict[str, Any]:
    """Ask some times."""
    took = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        answer = client.get(path)
        b"".join(answer) if answer.streaming else answer.content
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.content[:300]}")
        took.append((time.perf_counter() - began) * 1000)
    del took[0]
    return {
        "kind": kind,
        "path": path.removeprefix(BASE),
        "p50_ms": round(statistics.median(took), 1),
        "p95_ms": round(statistics.quantiles(took, n=20)[-1], 1),
    }


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(main()) + "\n")
