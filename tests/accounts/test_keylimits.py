from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils.translation import override

from accounts import keylimits
from accounts.errors import Invalid
from accounts.models import Tier, Workspace

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class TestModels:
    def test_no_list_means_all(self) -> None:
        assert keylimits.models(None) is None

    def test_names_are_kept_once_and_in_order(self) -> None:
        assert keylimits.models(["b/x", "a", "b/x"]) == ["b/x", "a"]

    @pytest.mark.parametrize("names", [[], [""], ["-x"], ["a b"], ["a" * 129], ["ä"]])
    def test_what_names_no_model_is_refused(self, names: list[str]) -> None:
        with pytest.raises(Invalid):
            keylimits.models(names)


class TestIps:
    def test_addresses_become_networks(self) -> None:
        assert keylimits.ips([" 10.1.2.3 ", "10.0.0.5/8", "2001:DB8::1"]) == [
            "10.1.2.3/32",
            "10.0.0.0/8",
            "2001:db8::1/128",
        ]

    @pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "1.2.3", "10.0.0.1-9"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(Invalid):
            keylimits.ips([text])

    def test_too_many_are_refused(self) -> None:
        with pytest.raises(Invalid, match="At most 200"):
            keylimits.ips(f"10.0.{n}.0/24" for n in range(201))


class TestRpm:
    @pytest.fixture
    def carried(self) -> list[Workspace]:
        return [Workspace(tier=Tier(max_rpm=most)) for most in (600, 100)]

    def test_the_lowest_tier_bounds_it(self, carried: list[Workspace]) -> None:
        assert keylimits.rpm(100, carried=carried) == 100
        with pytest.raises(Invalid, match="at most 100"):
            keylimits.rpm(101, carried=carried)

    @pytest.mark.parametrize(
        ("language", "most"), [("en", "1,000,000"), ("de", "1.000.000"), ("ru", "1\xa0000\xa0000")]
    )
    def test_a_bound_has_its_thousands_apart(
        self, carried: list[Workspace], language: str, most: str
    ) -> None:
        with override(language), pytest.raises(Invalid, match=f"{re.escape(most)} "):
            keylimits.rpm(1_000_001, carried=carried)

    def test_an_operator_may_pass_the_tier(self, carried: list[Workspace]) -> None:
        assert keylimits.rpm(101, carried=carried, past_tier=True) == 101

    def test_nothing_means_the_tiers_default_and_zero_means_nothing(
        self, carried: list[Workspace]
    ) -> None:
        assert keylimits.rpm(None, carried=carried) is None
        assert keylimits.rpm(0, carried=carried) == 0

    @pytest.mark.parametrize("limit", [-1, 1_000_001])
    def test_absurd_rates_are_refused_to_everyone(self, limit: int) -> None:
        with pytest.raises(Invalid):
            keylimits.rpm(limit, carried=[], past_tier=True)


class TestTpm:
    def test_nothing_means_no_limit_and_zero_means_nothing(self) -> None:
        assert keylimits.tpm(None) is None
        assert keylimits.tpm(0) == 0
        assert keylimits.tpm(1_000_000_000) == 1_000_000_000

    @pytest.mark.parametrize("limit", [-1, 1_000_000_001])
    def test_absurd_rates_are_refused(self, limit: int) -> None:
        with pytest.raises(Invalid) as refused:
            keylimits.tpm(limit)
        assert refused.value.param == "tpm"


class TestMaxStreams:
    def test_nothing_means_no_limit_and_zero_means_none(self) -> None:
        assert keylimits.max_streams(None) is None
        assert keylimits.max_streams(0) == 0

    @pytest.mark.parametrize("limit", [-1, 100_001])
    def test_absurd_numbers_are_refused(self, limit: int) -> None:
        with pytest.raises(Invalid) as refused:
            keylimits.max_streams(limit)
        assert refused.value.param == "max_streams"


class TestExpiry:
    def test_the_future_is_kept(self) -> None:
        later = NOW + timedelta(seconds=1)
        assert keylimits.expiry(later, now=NOW) == later
        assert keylimits.expiry(None, now=NOW) is None

    def test_the_past_is_refused(self) -> None:
        with pytest.raises(Invalid, match="past"):
            keylimits.expiry(NOW, now=NOW)

    def test_a_time_without_a_zone_is_refused(self) -> None:
        with pytest.raises(Invalid, match="time zone"):
            keylimits.expiry(datetime(2031, 1, 1), now=NOW)  # noqa: DTZ001 - that is the point
