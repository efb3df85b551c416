from __future__ import annotations

from functools import partial

import pytest

from billing import limits
from tests import pages
from tests.accounts.races import behind
from tests.api.conftest import refusal, session, told

USD = 10**9

pytestmark = pytest.mark.django_db(transaction=True)


class TestKeyView:
    def test_the_cap_that_is_left_out_stays_what_somebody_sets_meanwhile(self) -> None:
        ada = pages.person("ada")
        key = pages.make_key(ada)
        lower = partial(limits.set_key_caps, key=key, by=ada, monthly=20 * USD)
        lower(daily=9 * USD)
        program = session(ada, pages.home(ada))

        answer = behind(
            partial(lower, daily=USD),
            lambda: program.ask("PATCH", f"keys/{key.public_id}", {"monthly_usd": "7"}),
        )

        assert told(answer)["daily_usd"] == "1.00"
        assert limits.key_caps(key=key) == (USD, 7 * USD)

    def test_caps_that_are_set_meanwhile_make_a_version_an_older_one(self) -> None:
        ada = pages.person("ada")
        key = pages.make_key(ada)
        path = f"keys/{key.public_id}"
        program = session(ada, pages.home(ada))
        change = {"daily_usd": "9", "version": program.get(path)["version"]}

        answer = behind(
            partial(limits.set_key_caps, key=key, by=ada, daily=USD, monthly=20 * USD),
            lambda: program.ask("PATCH", path, change),
        )

        assert refusal(answer)["reason"] == "version_conflict"
        assert limits.key_caps(key=key) == (USD, 20 * USD)
