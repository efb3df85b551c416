from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from common import csvtext


class TestCell:
    def test_an_object_is_json(self) -> None:
        value = {"models": ["a'b"], "rpm": None, "enabled": True}

        assert json.loads(csvtext.cell(value)) == value

    @pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
    def test_what_a_spreadsheet_takes_for_a_formula_is_quoted(self, first: str) -> None:
        assert csvtext.cell(f"{first}1+1") == f"'{first}1+1"

    def test_a_time_is_that_of_json(self) -> None:
        assert (
            csvtext.cell(datetime(2026, 1, 2, 3, 4, 5, 600, UTC)) == "2026-01-02T03:04:05.000600Z"
        )

    @pytest.mark.parametrize("number", ["-1.5", "+2", "0"])
    def test_a_number_stays_one(self, number: str) -> None:
        assert csvtext.cell(number) == number
