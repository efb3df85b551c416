"""Runs one client's shapes against a stack and prints one line of JSON for each."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

STACK: dict[str, Any] = json.loads(os.environ.get("STACK", "{}"))


def run(shapes: Mapping[str, Callable[[], None]]) -> None:
    """Prove every shape; what goes wrong with one does not stop the others."""
    for shape, prove in shapes.items():
        error = None
        try:
            prove()
        except Exception:
            error = traceback.format_exc()
        sys.stdout.write(json.dumps({"shape": shape, "error": error}) + "\n")
