"""What holds for every list: its file has the same rows, and its pages stand still."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from accounts import invitations, members, service_accounts, webhooks, workspaces
from accounts.api_csv import columns
from billing import grants
from billing.models_funding import Refund, SavedCard, TopUp
from common import csvtext
from config import policies
from proxy import exports
from proxy.models import Export
from tests import pages
from tests.api.conftest import BASE, Program, Tenant, another_session, told
from tests.api.entries import MANAGEMENT
from tests.api.test_matrix import address, filled

PAGED = {
    address(route.path): route.operation
    for route in policies.routes()
    if route.operation and route.operation.paged
}
# What they need beside the path.
QUERIES = {"transactions": "asset=USD", "usage": "group_by=key"}
# One page that has everything; what is for sale to all; and what only a chain brings.
STILL = {"token-packages", "prices", "deposits"}


def more(alice: Tenant, number: int) -> None:
    """One more of everything that a list shows."""
    place, owner = alice.workspace, alice.owner
    key = pages.make_key(owner, place, name=f"key {number}")
    pages.closed_request(key, place, charged=number, cost=number)
    members.add(workspace=place, user=pages.person(f"m{number}"), role="viewer", by=owner)
    email = f"i{number}@example.com"
    invitations.create(workspace=place, email=email, role="viewer", by=owner)
    service_accounts.create(workspace=place, name=f"robot {number}", role="viewer", by=owner)
    webhooks.create(
        workspace=place, url=f"https://h{number}.example.com/", events=["key.created"], by=owner
    )
    webhooks.send_test(endpoint=alice.delivery.endpoint, by=owner)
    TopUp.objects.create(workspace=place, method=TopUp.Method.CHECKOUT, amount_cents=number + 1)
    Refund.objects.create(
        top_up=alice.top_up, amount_cents=1, credit_nanos=1, status=Refund.Status.FAILED
    )
    SavedCard.objects.create(
        workspace=place, method_id=f"pm_more_{number}", exp_month=1, exp_year=2040
    )
    exports.create(workspace=place, kind="logs", query={}, rows_expected=None, by=owner)
    # Few are built at once.
    Export.objects.update(status=Export.Status.COMPLETED)
    grants.grant(workspace=place, asset="USD", amount=10 + number, reason="more", paid=True)
    workspaces.create(owner=owner, name=f"place {number}", by=owner)
    another_session(owner)


def asked(program: Program, alice: Tenant, path: str, query: str) -> Any:
    """One answer of a list."""
    given = "&".join(filter(None, [QUERIES.get(path, ""), query]))
    return program.ask("GET", f"{BASE}{filled(path, alice.addresses())}?{given}")


def key_of(row: dict[str, Any]) -> Any:
    """What tells a row of a list from the others."""
    return row.get("id") or row.get("key_id") or str(row)


class TestPages:
    def test_stand_still_whatever_comes_meanwhile(self, alice: Tenant) -> None:
        """Every row that was there at first is seen once, between rows that are made."""
        for number in range(3):
            more(alice, number)
        program = alice.session()
        moving = [path for path in PAGED if path not in STILL]
        before = {path: told(asked(program, alice, path, ""))["data"] for path in moving}
        assert {path for path in moving if len(before[path]) < 3} == set()
        seen: dict[str, list[Any]] = {path: [] for path in moving}
        cursors = dict.fromkeys(moving, "limit=2")

        for number in range(3, 40):
            for path in list(cursors):
                page = told(asked(program, alice, path, cursors.pop(path)))
                seen[path] += [key_of(row) for row in page["data"]]
                if page["has_more"]:
                    cursors[path] = f"limit=2&cursor={page['next_cursor']}"
            if not cursors:
                break
            if number < 6:
                more(alice, number)

        assert cursors == {}
        for path in moving:
            there = [key_of(row) for row in before[path]]
            assert [each for each in seen[path] if each in there] == there, path
            assert len(seen[path]) == len(set(seen[path])), path

    def test_are_of_every_list_there_is(self) -> None:
        lists = {path for method, path in MANAGEMENT if method == "GET" and path in PAGED}

        assert lists == set(PAGED)
        assert len(lists) > 18


def without_seconds(text: str) -> str:
    """A file whose times are those of an hour: the line of a day that goes on ends just now."""
    return re.sub(r"(T\d\d:)\d\d:\d\d\.\d+Z", r"\1Z", text)


class TestFiles:
    def test_have_the_rows_that_pages_have(self, alice: Tenant) -> None:
        more(alice, 0)
        program = alice.session()

        for path, operation in PAGED.items():
            shown = told(asked(program, alice, path, "limit=100"))["data"]
            answered = asked(program, alice, path, "format=csv&limit=1")
            text = b"".join(answered.streaming_content).decode()
            names = columns(operation.answer())
            rows = [names, *(csvtext.flat(row, names) for row in shown)]

            assert without_seconds(text) == without_seconds(csvtext.lines(rows)), path
            assert len(list(csv.reader(io.StringIO(text)))) == len(rows), path
            assert answered["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize("path", sorted(PAGED))
def test_every_list_takes_the_same_three_words(path: str) -> None:
    assert {"limit", "cursor", "format"} <= set(PAGED[path].query().fields)
