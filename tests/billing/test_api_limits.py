from __future__ import annotations

from functools import partial

import pytest

from billing import limits
from tests import pages
from tests.accounts.races import behind
from tests.api.conftest import refusal, session, told

USD = 10**9

pytestmark = pytest.mark.django_db(transaction=True)


class TestLimitsView:
    def test_the_cap_that_is_left_out_stays_what_somebody_sets_meanwhile(self) -> None:
        ada = pages.person("ada")
        home = pages.home(ada)
        lower = partial(limits.set_workspace_caps, workspace=home, by=ada, monthly=20 * USD)
        lower(daily=9 * USD)
        program = session(ada, home)

        answer = behind(
            partial(lower, daily=USD),
            lambda: program.ask("PATCH", "limits", {"monthly_usd": "7"}),
        )

        assert told(answer)["daily_usd"] == "1.00"
        assert limits.workspace_caps(workspace=home) == (USD, 7 * USD)

    @pytest.mark.parametrize("name", limits.CAPS)
    def test_a_cap_beyond_the_tier_is_refused_by_its_own_name(self, name: str) -> None:
        ada = pages.person("ada")

        error = refusal(session(ada, pages.home(ada)).ask("PATCH", "limits", {name: "999999999"}))

        assert (error["reason"], error["param"]) == ("invalid_parameter", name)
        assert error["fields"] == {name: error["message"]}
