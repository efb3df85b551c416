"""What a browser calls itself, as people say it."""

from __future__ import annotations

import pytest

from accounts.templatetags import browsers

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


class TestBrowser:
    @pytest.mark.parametrize(
        ("user_agent", "shown"),
        [
            (f"(X11; Linux x86_64) {KIT} Chrome/126.0.0.0 Safari/537.36", "Chrome 126, Linux"),
            (f"(Windows NT 10.0) {KIT} Chrome/126.0 Safari/5 Edg/125.0", "Edge 125, Windows"),
            (f"(Linux; Android 14) {KIT} Chrome/126.0 Mobile Safari/5", "Chrome 126, Android"),
            ("(Macintosh; Intel Mac OS X 10.15; rv:127.0) Firefox/127.0", "Firefox 127, macOS"),
            (f"(iPhone; iPhone OS 17_5) {KIT} Version/17.5 Mobile/1 Safari/6", "Safari 17, iPhone"),
            ("curl/8.5.0", "an unknown program"),
            ("", "an unknown program"),
        ],
    )
    def test_its_version_and_its_system_are_told(self, user_agent: str, shown: str) -> None:
        assert browsers.browser(user_agent) == shown
