from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.chains import config, rates
from billing.chains.config import Market
from billing.chains.rates import Told, Unavailable
from billing.models import Quote
from tests.billing.chains import counter
from tests.billing.chains.counter import Counter

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STABLE = Market(stable=True, min_sources=2)
FREE = Market(min_sources=2, max_age_s=60, max_off_ppm=20_000)


def told(*prices: str, age_s: float = 0) -> list[Told]:
    at = NOW - timedelta(seconds=age_s)
    return [
        Told(source=f"m{number}", price=Decimal(price), at=at)
        for number, price in enumerate(prices)
    ]


class TestSettle:
    @pytest.mark.parametrize(
        ("prices", "wanted"),
        [
            (("1", "1"), "1"),
            (("1.004", "1.002", "1.003"), "1"),
            (("0.998", "0.999", "1.001"), "0.999"),
            (("0.9951", "0.9953"), "0.9952"),
        ],
    )
    def test_a_stablecoin_is_its_median_and_never_above_a_dollar(
        self, prices: tuple[str, ...], wanted: str
    ) -> None:
        quote = rates.settle(symbol="USDC", market=STABLE, told=told(*prices), now=NOW)
        assert quote.price == Decimal(wanted)

    def test_a_lost_peg_has_no_price(self) -> None:
        with pytest.raises(Unavailable, match="lost its peg"):
            rates.settle(symbol="USDC", market=STABLE, told=told("0.98", "0.981"), now=NOW)

    def test_markets_that_disagree_have_no_price(self) -> None:
        with pytest.raises(Unavailable, match="disagree"):
            rates.settle(symbol="ETH", market=FREE, told=told("3000", "3100"), now=NOW)

    @pytest.mark.parametrize("age_s", [61, -61])
    def test_a_price_that_is_old_or_of_the_future_does_not_count(self, age_s: float) -> None:
        given = told("3000", age_s=age_s) + told("3001")
        with pytest.raises(Unavailable, match="1 fresh prices, 2 needed"):
            rates.settle(symbol="ETH", market=FREE, told=given, now=NOW)

    @pytest.mark.parametrize("price", ["0", "-1"])
    def test_a_price_that_is_none_does_not_count(self, price: str) -> None:
        with pytest.raises(Unavailable):
            rates.settle(symbol="ETH", market=FREE, told=told(price, "3000"), now=NOW)

    def test_the_sources_and_the_oldest_time_are_kept(self) -> None:
        given = told("3000", age_s=30) + told("3010")
        quote = rates.settle(symbol="ETH", market=FREE, told=given, now=NOW)
        assert (quote.price, quote.source) == (Decimal(3005), "median of m0, m0")
        assert quote.at == NOW - timedelta(seconds=30)


class Markets:
    """Two price servers."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        markets = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = markets.answers[self.path]
                raw = text.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def markets() -> Iterator[Markets]:
    made = Markets()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.django_db
class TestRefresh:
    @pytest.fixture
    def asked(self, markets: Markets, settings: Settings, tmp_path: Path) -> Markets:
        given = counter.plan(["http://127.0.0.1:1", "http://127.0.0.1:2"])
        given["markets"]["ETH"]["max_age_s"] = 3600
        for source in given["sources"]:
            source["url"] = f"{markets.url}/{source['symbol']}/{source['name']}"
            source["price"] = "data.0.last"
            source["at"] = "data.0.time" if source["symbol"] == "ETH" else None
        counter.configure(settings, tmp_path, given)
        now = datetime.now(UTC)
        for symbol, price in (("USDC", 1), ("USDT", "0.9995"), ("ETH", 3000.1234567890123)):
            for name, at in (("market-1", now.isoformat()), ("market-2", now.timestamp() * 1000)):
                text = json.dumps({"data": [{"last": price, "time": at}]})
                markets.answers[f"/{symbol}/{name}"] = (200, text)
        return markets

    def test_it_keeps_what_markets_say_without_rounding_through_a_float(
        self, asked: Markets
    ) -> None:
        moment = int(datetime.now(UTC).timestamp())
        text = '{"data": [{"last": 3000.123456789012, "time": ' + f"{moment}" + "}]}"
        asked.answers["/ETH/market-1"] = asked.answers["/ETH/market-2"] = (200, text)
        assert rates.refresh() == {}
        prices = dict(Quote.objects.values_list("symbol", "price"))
        assert prices == {
            "USDC": Decimal(1), "USDT": Decimal("0.9995"), "ETH": Decimal("3000.123456789012"),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "answer",
        [
            (500, "{}"),
            (200, "<html>"),
            (200, "{}"),
            (200, '{"data": [{"last": "NaN"}]}'),
            (200, '{"data": [{"last": "1e999999", "time": 1}]}'),
            (200, '{"data": [{"last": 3000, "time": null}]}'),
            (200, '{"data": [{"last": 3000, "time": "1.2.3"}]}'),
            (200, '{"data": [{"last": 3000, "time": 1e40}]}'),
            (200, "[" * 2000),
        ],
    )
    def test_a_market_that_makes_no_sense_is_not_counted(
        self, asked: Markets, answer: tuple[int, str]
    ) -> None:
        asked.answers["/ETH/market-2"] = answer
        assert set(rates.refresh()) == {"ETH"}
        assert not Quote.objects.filter(symbol="ETH").exists()


class TestRate:
    def test_it_is_nano_dollars_for_a_unit_of_the_ledger(self, shop: Counter) -> None:
        counter.quote("USDC", "0.9991")
        counter.quote("ETH", "3000")
        tokens = {token.symbol: token for token in config.tokens().values()}
        now = datetime.now(UTC)
        assert rates.rate(token=tokens["USDC"], now=now).value == Fraction(9991, 10)
        assert rates.rate(token=tokens["ETH"], now=now).value == 3000

    def test_an_old_quote_is_none(self, shop: Counter) -> None:
        counter.quote("ETH", "3000", age_s=241)
        token = next(t for t in config.tokens().values() if t.symbol == "ETH")
        with pytest.raises(Unavailable, match="no fresh price"):
            rates.rate(token=token, now=datetime.now(UTC))
