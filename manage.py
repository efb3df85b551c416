#!/usr/bin/env python
"""Django's command-line entry point."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# platform/ is a folder, not a package: an __init__.py there would hide the
# standard library's `platform` module. It is a root for imports instead.
sys.path.insert(1, str(Path(__file__).resolve().parent / "platform"))


def main() -> None:
    """Run the command named on the command line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
