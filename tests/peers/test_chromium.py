from __future__ import annotations

import subprocess


class TestChromium:
    def test_it_runs(self, chromium: str) -> None:
        said = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True)

        assert said.stdout.startswith("Chromium ")
