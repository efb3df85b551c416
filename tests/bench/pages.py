"""Times pages of the dashboard, for the customer with most calls and one with few."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django

PAGES = ("overview", "keys")
TIMES = 5


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
    """Return, per customer and page, the median of the queries and of the whole page."""
    from django.core.management import call_command

    from billing.models import KeyMeter

    call_command("collectstatic", interactive=False, verbosity=0)
    meters = KeyMeter.objects.order_by("-spent").select_related("key__user")
    count = meters.count()
    return [
        timed(page, whose, meters[place])
        for whose, place in (("the largest customer", 0), ("a median customer", count // 2))
        for page in PAGES
    ]


def timed(page: str, whose: str, meter: Any) -> dict[str, Any]:
    """Ask for a page a few times, as its customer."""
    from django.db import connection
    from django.test import Client
    from django.urls import reverse

    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(
        meter.key.user, backend="allauth.account.auth_backends.AuthenticationBackend"
    )
    queries, whole = [], []
    for _ in range(TIMES):
        stopwatch = Stopwatch()
        began = time.perf_counter()
        with connection.execute_wrapper(stopwatch):
            answer = client.get(reverse(page))
        if answer.status_code != 200:
            raise RuntimeError(f"{page} answered {answer.status_code}")
        whole.append(time.perf_counter() - began)
        queries.append(stopwatch.seconds)
    return {
        "page": page,
        "whose": whose,
        "queries_ms": round(sorted(queries)[TIMES // 2] * 1000, 1),
        "page_ms": round(sorted(whole)[TIMES // 2] * 1000, 1),
    }


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(main()) + "\n")
