"""Every kind of provider that a catalogue can name has an adapter."""

from __future__ import annotations

import pytest

from proxy import upstreams
from proxy.models import Provider


class TestOf:
    @pytest.mark.parametrize("kind", Provider.Kind.values)
    def test_gives_what_serves_a_kind(self, kind: str) -> None:
        adapter = upstreams.of(kind)

        assert "chat" in adapter.KINDS
        assert not {"messages", "tools", "max_tokens", "n"} & adapter.UNSUPPORTED
