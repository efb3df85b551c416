from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from billing import autotopups
from billing.models_funding import AutoTopUp
from tests import pages
from tests.accounts.races import behind
from tests.api.conftest import refusal, session, told

WISHES = {"enabled": False, "threshold_usd": "5", "amount_usd": "20", "monthly_limit_usd": "100"}


class TestAutoTopUpView:
    @pytest.mark.django_db
    @pytest.mark.parametrize("in_body", [True, False])
    def test_a_change_to_what_changed_meanwhile_is_a_409(self, in_body: bool) -> None:
        ada = pages.person("ada")
        program = session(ada, pages.home(ada))
        seen: Any = program.ask("GET", "auto-top-up")
        version = seen.json()["version"]
        assert seen["ETag"] == f'"{version}"'
        body, header = ({"version": version}, {}) if in_body else ({}, {"If_Match": seen["ETag"]})

        def put(amount: str) -> Any:
            wanted = WISHES | {"amount_usd": amount} | body
            return program.ask("PUT", "auto-top-up", wanted, **header)

        first = told(put("30"))
        assert refusal(put("40"))["reason"] == "version_conflict"

        assert first["version"] != version
        assert program.get("auto-top-up") == first
        assert first["amount_usd"] == "30.00"

    @pytest.mark.django_db
    def test_without_a_version_the_last_one_holds(self) -> None:
        ada = pages.person("ada")
        program = session(ada, pages.home(ada))

        for amount in ("30.00", "40.00"):
            answer = program.ask("PUT", "auto-top-up", WISHES | {"amount_usd": amount})
            assert told(answer)["amount_usd"] == amount

    @pytest.mark.django_db(transaction=True)
    def test_of_two_who_are_the_first_at_once_one_is_told(self) -> None:
        ada = pages.person("ada")
        home = pages.home(ada)
        program = session(ada, home)
        version = program.get("auto-top-up")["version"]
        choose = partial(
            autotopups.choose,
            workspace=home,
            enabled=False,
            threshold_nanos=10**9,
            amount_cents=3000,
            monthly_limit_cents=5000,
            card=None,
            by=ada,
        )

        late = behind(
            choose, lambda: program.ask("PUT", "auto-top-up", WISHES | {"version": version})
        )

        assert refusal(late)["reason"] == "version_conflict"
        assert AutoTopUp.objects.get(workspace=home).amount_cents == 3000
