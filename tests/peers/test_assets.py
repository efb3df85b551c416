from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import packages
from tests.packages import ROOT


class TestStylesheet:
    def test_the_committed_one_is_what_its_sources_make(self, npm: str, tmp_path: Path) -> None:
        built = tmp_path / "app.css"
        flags = ["--input", "assets/app.css", "--output", str(built), "--minify"]

        packages.node(source=ROOT, folder=ROOT)
        subprocess.run(
            [str(ROOT / "node_modules/.bin/tailwindcss"), *flags],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            check=True,
        )

        assert built.read_text() == (ROOT / "static/css/app.css").read_text()


class TestChartScript:
    def test_the_committed_one_is_the_package_s_own(self, npm: str) -> None:
        packages.node(source=ROOT, folder=ROOT)
        package = ROOT / "node_modules/uplot/dist/uPlot.iife.min.js"

        assert (ROOT / "static/dist/uplot.js").read_bytes() == package.read_bytes()
