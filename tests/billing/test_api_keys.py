from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from accounts import keys
from accounts.models import ApiKey, User
from billing import limits
from tests import pages
from tests.accounts.races import behind
from tests.api.conftest import refusal, session, told, with_key

USD = 10**9

pytestmark = pytest.mark.django_db(transaction=True)


class TestKeysView:
    @pytest.mark.parametrize("by_key", [True, False])
    def test_a_foreign_workspace_is_refused_under_the_fields_name(self, by_key: bool) -> None:
        ada, bob = pages.person("ada"), pages.person("bob")
        home = pages.home(ada)
        _, secret = wide(ada)
        program = with_key(secret) if by_key else session(ada, home)
        body = {"name": "x", "scopes": ["chat"], "workspaces": [pages.home(bob).public_id]}

        error = refusal(program.ask("POST", "keys", body))

        assert (error["reason"], error["param"]) == ("workspace_forbidden", "workspaces")

    def test_a_key_wider_than_the_tier_makes_none_that_is(self) -> None:
        ada = pages.person("ada")
        most = pages.home(ada).tier.max_rpm
        _, secret = wide(ada, rpm=most + 1)

        made = with_key(secret).post("keys", {"name": "x", "scopes": ["chat"]})

        assert made["rpm"] == most


def wide(owner: User, **terms: Any) -> tuple[ApiKey, str]:
    """A key that manages keys, as an operator issues it."""
    home = pages.home(owner)
    scopes = ["keys:manage", "keys:read"]
    return keys.create(name="wide", workspaces=[home], by=None, user=owner, scopes=scopes, **terms)


class TestKeyView:
    @pytest.mark.parametrize("name", limits.CAPS)
    def test_a_cap_beyond_the_tier_is_refused_by_its_own_name(self, name: str) -> None:
        ada = pages.person("ada")
        path = f"keys/{pages.make_key(ada).public_id}"

        error = refusal(session(ada, pages.home(ada)).ask("PATCH", path, {name: "999999999"}))

        assert (error["reason"], error["param"]) == ("invalid_parameter", name)
        assert error["fields"] == {name: error["message"]}

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
