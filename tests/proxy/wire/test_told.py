from __future__ import annotations

from typing import Any

import pytest

from proxy.wire import told


class TestAsides:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"service_tier": "flex", "system_fingerprint": "fp_44709d6fcb"},
            {"service_tier": None, "system_fingerprint": None, "citations": None},
            {"citations": ["https://a.example/b?c=d", "http://e.example"]},
        ],
    )
    def test_what_openai_documents_is_told(self, fields: dict[str, Any]) -> None:
        assert told.asides(fields | {"provider": "x", "cost": 1}) == fields

    @pytest.mark.parametrize(
        "fields",
        [
            {"service_tier": "gpu-7"},
            {"service_tier": {"x": 1}},
            {"service_tier": ["flex"]},
            {"system_fingerprint": "https://inside.example"},
            {"system_fingerprint": 7},
            {"system_fingerprint": "x" * 65},
            {"citations": "https://a.example"},
            {"citations": [{"url": "https://a.example"}]},
            {"citations": ["req-7"]},
        ],
        ids=repr,
    )
    def test_nothing_else_under_these_names(self, fields: dict[str, Any]) -> None:
        assert told.asides(fields) == {}
