"""
The page of mutants: `python -m tests.mutations.page` writes docs/mutations.md.

    PYTHONPATH=platform .venv/bin/python -m tests.mutations.page
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.mutations import guards, harmless
from tests.mutations.guards import Mutant

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "mutations.md"
HEAD: Final = """\
# Mistakes that the tests notice

Every guard of the SQL that moves money is broken on purpose, one at a time: each comparison
(`>` for `>=`, `=` for `<>`), each bound, `and` for `or`, each counter arm of an UPDATE, each sign
of a sum, each lock, each `on conflict`, each constraint, each trigger and each of its events. The
places are found by reading the files ([tests/mutations/guards.py](../tests/mutations/guards.py)),
so a new guard is a new mutant at once, and a test fails until something notices it.

`tests/mutations` puts each mutant into the database, inside a transaction, and plays scenarios and
random programs against a model in Python until one fails. A mutant that survives is a failed test.
Written by `PYTHONPATH=platform .venv/bin/python -m tests.mutations.page`; a test compares.

"""


def text() -> str:
    """Return the page."""
    mutants = guards.all_mutants()
    asked = [each for each in mutants if harmless.reason(each) is None]
    counts = "\n".join(
        f"| `billing/sql/{file}` | {sum(each.file == file for each in asked)} |"
        for file in guards.files()
    )
    left_out = "\n".join(f"- `billing/sql/{file}`: {why}." for file, why in guards.LEFT_OUT.items())
    return "\n".join(
        [
            f"{HEAD}| file | mutants that have to be noticed |\n|---|---|\n{counts}",
            f"| together | {len(asked)} |\n",
            f"Not looked at:\n\n{left_out}\n",
            "## Mutants that change nothing\n",
            *(
                f"- {_line(each)}: {harmless.reason(each)}."
                for each in mutants
                if each not in asked
            ),
            *(_section(file, asked) for file in guards.files()),
        ]
    )


def _section(file: str, mutants: list[Mutant]) -> str:
    rows = "\n".join(f"- {_line(each)}" for each in mutants if each.file == file)
    return f"\n## {file}\n\n{rows}"


def _line(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line} `{mutant.context}` → `{mutant.change}`"


if __name__ == "__main__":
    PAGE.write_text(text() + "\n", "utf-8")
