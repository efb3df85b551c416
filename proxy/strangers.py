"""Who tries many keys that are none: asked for patience before the next one is looked up."""

from __future__ import annotations

import time

from django.conf import settings

from common.errors import ApiError, retry_advice, retry_headers

WINDOW_S = 60.0
MOST_KEPT = 10_000


class Strangers:
    """Unknown keys per address and minute, as one process saw them; known keys never wait."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.began = time.monotonic()

    def note(self, address: str) -> None:
        """Count a key that was looked up and is none of ours."""
        if len(self.seen) >= MOST_KEPT:
            self.seen.clear()
        self.seen[address] = self.seen.get(address, 0) + 1

    def check(self, address: str) -> None:
        """
        Let an address try one more key.

        :raises ApiError: 429, it has tried too many
        """
        now = time.monotonic()
        if now - self.began > WINDOW_S:
            self.seen.clear()
            self.began = now
        if self.seen.get(address, 0) >= settings.BAD_KEYS_PER_MINUTE:
            wait_ms = int((self.began + WINDOW_S - now) * 1000) + 1
            raise ApiError(
                "rate_limited",
                f"Too many unknown API keys from this address. {retry_advice(after_ms=wait_ms)}",
                headers=retry_headers(after_ms=wait_ms),
            )
