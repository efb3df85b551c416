from __future__ import annotations

from tests.conformance.shapes import CLIENTS, SHAPES
from tests.conformance.table import PAGE, page


class TestThePage:
    def test_lists_exactly_the_cases_that_exist_and_none_that_fails(self) -> None:
        cases = {(name, shape) for name, client in CLIENTS.items() for shape in client.shapes}

        assert PAGE.read_text() == page(dict.fromkeys(cases, True)), "run: make compatibility"

    def test_every_shape_of_a_client_is_a_row(self) -> None:
        for client in CLIENTS.values():
            assert set(client.shapes) <= set(SHAPES)

    def test_a_case_that_fails_is_told(self) -> None:
        assert "| Chat | **fail** |  |" in page({("openai-python", "chat"): False})
