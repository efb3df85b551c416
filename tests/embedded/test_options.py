from __future__ import annotations

import pytest

from embedded.options import Options
from embedded.processes import ROOT
from embedded.refusal import Refusal


class TestRead:
    def test_nothing_given_means_loopback_port_8000_and_var(self) -> None:
        options = Options.read(environment={"PORT": ""})

        assert (options.base_url, options.folder) == ("http://127.0.0.1:8000", ROOT / "var")

    @pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "\uff18\uff10"])
    def test_a_port_that_is_none(self, port: str) -> None:
        with pytest.raises(Refusal, match="PORT must be a number"):
            Options.read(environment={"PORT": port})


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - no socket is opened
            ("192.0.2.7", "http://192.0.2.7:8000"),
            ("::1", "http://[::1]:8000"),
        ],
    )
    def test_a_browser_on_this_machine_can_use_it(self, host: str, url: str) -> None:
        assert Options.read(environment={"HOST": host}).base_url == url


class TestAllowedHosts:
    def test_the_host_listened_on_is_allowed_and_ipv6_is_bracketed(self) -> None:
        names = Options.read(environment={"HOST": "fd00::7"}).allowed_hosts.split(",")

        assert {"[fd00::7]", "[::1]", "127.0.0.1", "localhost"} <= set(names)
