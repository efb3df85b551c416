"""docs/benchmarks.md, written from the figures of the last run of each part."""

from __future__ import annotations
import json
from typing import Any
from tests.bench import peers

KEPT = peers.FOLDER / "figures.json"


def keep(name: str, figures: dict[str, Any]) -> None:
    """Keep the figures of one part."""
    peers.FOLDER.mkdir(exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    KEPT.write_text(json.dumps(kept | {name: figures}, indent=1))


def write() -> None:
    """Write the page."""
