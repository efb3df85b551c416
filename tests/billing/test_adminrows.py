from __future__ import annotations

from types import SimpleNamespace as Row

from billing.adminrows import amount


class TestAmount:
    def test_dollars_are_exact_and_other_assets_have_their_name(self) -> None:
        shown = amount("charged", "Charged")
        assert shown(Row(charged=2_000_000_001, asset="USD")) == "2.000000001 USD"
        assert shown(Row(charged=3, asset="TOK")) == "3 TOK"

    def test_the_unit_is_where_it_is_said(self) -> None:
        row = Row(amount=150, account=Row(asset="USD"), missing=None)
        assert amount("amount", "Given", unit="cents")(row) == "1.50 USD"
        assert amount("amount", "Given", unit="account__asset")(row) == "0.00000015 USD"
        assert amount("missing", "Given", unit="nanos")(row) == "-"
