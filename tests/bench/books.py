"""
What the books say: a program that prints one line of JSON.

`snapshot` counts; `verify` also asks the invariants as the hourly task does.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import django

COUNTS = """
select (select count(*) from billing_usage where state = 'settled'),
       (select coalesce(sum(charged), 0)::text from billing_usage),
       (select sum(credits_posted - debits_posted)::text from billing_account
        where bounded and asset = 'USD'),
       (select count(*) from billing_hold),
       (select count(*) from billing_account
        where kind = 'paid' and asset = 'USD' and (day_cap is null or month_cap is null))
       + (select count(*) from billing_keymeter where day_cap is null or month_cap is null)
       + (select count(*) from accounts_apikey where rpm is null),
       current_setting('fsync') || ' ' || current_setting('synchronous_commit'),
       current_setting('server_version'),
       pg_database_size(current_database())
"""
NAMES = ("settled", "charged", "balance", "held", "uncapped", "durable", "postgres", "size_bytes")


def main(verify: bool) -> dict[str, Any]:
    """Return what the books say."""
    from django.db import connection

    from billing import invariants

    with invariants.patience(), connection.cursor() as cursor:
        cursor.execute(COUNTS)
        found: dict[str, Any] = dict(zip(NAMES, cursor.fetchone(), strict=True))
    # Sums of 100,000 customers may pass a bigint.
    found |= {name: int(found[name]) for name in ("charged", "balance")}
    if verify:
        began = time.monotonic()
        report = invariants.check()
        found |= {"verify_s": round(time.monotonic() - began, 1), "ok": report.ok}
        found["wrong"] = [each for each in report.summary()["invariants"] if each["violations"]]
    return found


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(main(verify="verify" in sys.argv)) + "\n")
