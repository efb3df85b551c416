from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from billing.chains import config
from tests.billing.chains import counter
from tests.billing.chains.counter import USDC

URLS = ["http://127.0.0.1:1", "http://127.0.0.1:2"]


class TestRead:
    def refused(self, settings: Settings, folder: Path, given: dict[str, Any], why: str) -> None:
        counter.configure(settings, folder, given)
        with pytest.raises(config.Wrong, match=why):
            config.current()

    def test_endpoints_of_the_environment_come_first(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        counter.configure(settings, tmp_path, counter.plan([]))
        settings.CHAIN_RPC = {31337: URLS}
        assert config.chain(31337).rpc == URLS

    @pytest.mark.parametrize("urls", [[], URLS[:1], [URLS[0], URLS[0]]])
    def test_one_endpoint_is_not_enough(
        self, settings: Settings, tmp_path: Path, urls: list[str]
    ) -> None:
        self.refused(settings, tmp_path, counter.plan(urls), "two RPC endpoints")

    def test_an_unknown_key_is_named(self, settings: Settings, tmp_path: Path) -> None:
        self.refused(settings, tmp_path, counter.plan(URLS, colour="red"), "colour")

    def test_a_contract_named_twice_is_refused(self, settings: Settings, tmp_path: Path) -> None:
        given = counter.plan(URLS)
        given["chains"][0]["tokens"][1]["contract"] = USDC.upper().replace("0X", "0x")
        self.refused(settings, tmp_path, given, "names a contract twice")

    def test_a_chains_own_money_is_not_listed_as_a_token_too(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        given = counter.plan(URLS)
        given["chains"][0]["tokens"][0]["contract"] = "0x" + "0" * 36 + "1010"
        self.refused(settings, tmp_path, given, "its own money, which stands under native")

    def test_a_coin_without_a_market_is_refused(self, settings: Settings, tmp_path: Path) -> None:
        given = counter.plan(URLS)
        del given["markets"]["ETH"]
        self.refused(settings, tmp_path, given, "markets lacks ETH")

    def test_too_few_sources_are_refused(self, settings: Settings, tmp_path: Path) -> None:
        given = counter.plan(URLS)
        given["sources"] = given["sources"][:-1]
        self.refused(settings, tmp_path, given, "ETH has fewer sources")

    def test_the_same_token_has_its_own_decimals_on_each_chain(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        given = counter.plan(URLS)
        other = counter.plan(URLS, id=56)["chains"][0]
        other["tokens"] = [{"symbol": "USDC", "contract": USDC, "decimals": 18}]
        given["chains"].append(other)
        counter.configure(settings, tmp_path, given)
        found = config.tokens()
        assert (found[f"USDC@31337:{USDC}"].scale, found[f"USDC@56:{USDC}"].scale) == (1, 10**9)


class TestBaseUnits:
    @pytest.mark.parametrize(("text", "units"), [("1", 10**6), ("0.000001", 1), ("1e2", 10**8)])
    def test_it_is_exact(self, text: str, units: int) -> None:
        assert config.base_units(text, 6) == units

    @pytest.mark.parametrize("text", ["", "x", "-1", "0.0000001", "NaN", "Infinity"])
    def test_what_is_no_amount_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="no amount"):
            config.base_units(text, 6)


class TestWritten:
    @pytest.mark.parametrize(
        ("units", "text"),
        [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (10**6, "1"), (-1_500_000, "-1.5")],
    )
    def test_it_writes_coins_exactly(self, units: int, text: str) -> None:
        assert config.written(units, 6) == text
