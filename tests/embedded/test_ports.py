from __future__ import annotations

import socket

import pytest

from embedded import ports
from embedded.refusal import Refusal


class TestChoose:
    def test_the_preferred_port_if_it_is_free(self) -> None:
        free = ports.choose()

        assert ports.choose(preferred=free) == free

    def test_another_one_if_it_is_taken(self) -> None:
        with socket.create_server((ports.LOOPBACK, 0)) as taken:
            port = taken.getsockname()[1]

            assert ports.choose(preferred=port) != port


class TestRequireFree:
    def test_a_taken_port_is_named(self) -> None:
        with socket.create_server((ports.LOOPBACK, 0)) as taken:
            port = taken.getsockname()[1]

            with pytest.raises(Refusal, match=f"port {port} on 127.0.0.1 is taken"):
                ports.require_free(host=ports.LOOPBACK, port=port)

    def test_a_host_that_is_not_ours_is_named(self) -> None:
        with pytest.raises(Refusal, match=r"cannot listen on HOST=192\.0\.2\.77"):
            ports.require_free(host="192.0.2.77", port=8000)
