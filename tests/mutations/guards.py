"""
Every guard of the SQL of money, and the ways in which each could be wrong.

The source is read as text: comments and quoted words are blanked out, then each operator,
bound, lock, conflict clause, counter arm, constraint and trigger becomes one mutant or two. So
a guard that is added is a mutant at once, without anybody listing it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

SQL: Final = Path(__file__).resolve().parents[2] / "billing" / "sql"

# What it looks like, and what it becomes.
OPERATORS: Final[tuple[tuple[str, str], ...]] = (
    (r"<>", "="),
    (r">=", ">"),
    (r"<=", "<"),
    (r"(?<![-<>=])>(?![>=])", ">="),
    (r"<(?![=>])", "<="),
    (r"(?<![:<>=])= any(?=\()", "<> all"),
    (r"(?<![:<>=])(?<!errcode )=(?![=>]| any\()", "<>"),
    (r"\bleast(?=\()", "greatest"),
    (r"\bgreatest(?=\()", "least"),
    (r"\bbool_or(?=\()", "bool_and"),
    (r"\bmin(?=\()", "max"),
    (r"\bmax(?=\()", "min"),
    (r"\bis not null\b", "is null"),
    (r"\bis null\b", "is not null"),
    (r"\bis not true\b", "is true"),
    (r"\bis true\b", "is not true"),
    (r"\bis distinct from\b", "is not distinct from"),
    (r"\bnot like\b", "like"),
    (r"\bnot (?=i_good|bounded)", ""),
    (r"(?<!not )\bexists(?= ?\()", "not exists"),
    (r"(?<=[\w\]]) in(?= \()", " not in"),
    (r"(?<=[\w\])]) \+ (?!0\b)", " - "),
    (r"(?<=[\w\])]) - ", " + "),
    (r"(?<=[\w\])]) / ", " * "),
    (r"(?<=[\w\])])(?<!select) \* (?!into|from)(?=[\w(])", " / "),
    (r"(?<=\]) % ", " * "),
    (r"(?<=between )(\S+)(?= and )", r"1 + \1"),
    (r"(?<=between 0 and )\w+", "0"),
    (r"(?<=between 1 and )\w+", "1"),
    (r"(?<=between first_day and )\w+", "first_day - 1"),
    (r"(?<!between \S\S) and (?=\S)", " or "),
    (r"\bor\b", "and"),
    (r"(?<=:= )true(?=;)", "false"),
    (r"(?<=array_fill\()false\b", "true"),
    (r"\s+on conflict[^;]*?do nothing", ""),
    (r" skip locked", ""),
    (r" for no key update(?: skip locked)?", ""),
    (r"(?<=for )no key update", "update"),
    (r"(?<=\bif )(careful|found|moved|any_\w+|\w_frozen\[\w\])(?= then)", r"not \1"),
    (r"(?<=coalesce\()(unknown|any_new)(?=,)", r"not \1"),
)
ARM: Final = re.compile(r"\bupdate\s+(\w+)\s+set\s(.*?)(?=\bwhere\b|\bfrom\b|;)", re.S)
CONSTRAINT: Final = re.compile(
    r"(?:add )?constraint (?P<name>\w+)\s+(?P<body>(?:check|unique|foreign key)\b)", re.S
)
COLUMN_CHECK: Final = re.compile(
    r"^    (?!constraint)(?P<column>\w+) [^\n]*?(?P<body>check) \(", re.M
)
TRIGGER: Final = re.compile(r"create trigger (?P<name>\w+)\n[^;]*?\bon (?P<table>\w+)[^;]*;", re.S)
EVENTS: Final = (r"(?<=before )update or ", r" or delete", r" or truncate")
# Files of SQL that move no money, and why no mutant of them is asked for.
LEFT_OUT: Final = {
    "clock.sql": "one line that tests replace",
    "quarantine.sql": "one index",
    "staffindexes.sql": "two indexes",
    "rollup.sql": "sums of usage for pages; it writes neither a balance nor a hold nor a transfer",
    "rollups.sql": "the tables of those sums",
    "usagekey.sql": "one more of them",
    "usagemodel.sql": "one more of them",
    "usagelife.sql": "one more of them",
    "usageplace.sql": "one more of them",
    "usagetotal.sql": "one more of them",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One place of a file with another text in it."""

    file: str
    start: int
    end: int
    text: str

    @property
    def source(self) -> str:
        """The file as it is."""
        return read(self.file)

    @property
    def mutated(self) -> str:
        """The file with the mistake."""
        return self.source[: self.start] + self.text + self.source[self.end :]

    @property
    def line(self) -> int:
        """The line in which the place begins."""
        lead = len(self.old) - len(self.old.lstrip())
        return self.source.count("\n", 0, self.start + lead) + 1

    @property
    def old(self) -> str:
        """What stands there."""
        return self.source[self.start : self.end]

    @property
    def context(self) -> str:
        """The line as it is."""
        return self.source.splitlines()[self.line - 1].strip()

    @property
    def change(self) -> str:
        """The line with the mistake in it."""
        if "\n" in self.old.strip() or self.old.startswith("create"):
            return f"[{' '.join(self.text.split()) or 'gone'}]"
        begin = self.source.rfind("\n", 0, self.start + len(self.old) - len(self.old.lstrip())) + 1
        after = self.source.find("\n", self.end)
        return " ".join(
            (self.source[begin : self.start] + self.text + self.source[self.end : after]).split()
        )

    @property
    def name(self) -> str:
        """A name for the report of a test."""
        return f"{self.file}:{self.line}:{self.start}:{' '.join(self.text.split()) or 'gone'}"


@cache
def read(file: str) -> str:
    """Return one file of SQL."""
    return (SQL / file).read_text("utf-8")


def files() -> list[str]:
    """Return the names of the files that move money or bound it."""
    return sorted(path.name for path in SQL.glob("*.sql") if path.name not in LEFT_OUT)


def blanked(text: str) -> str:
    """Return a text of the same length without comments and quoted words."""
    return re.sub(r"--[^\n]*|'[^'\n]*'", lambda found: " " * len(found.group()), text)


def _frames(text: str) -> list[tuple[int, int]]:
    """Return what is no guard: heads of functions, indexes, plain columns."""
    spans = [
        found.span()
        for found in re.finditer(
            r"^(?:create or replace function|returns|set|language|create (?:unique )?index|where"
            r"|create trigger|before|create table|alter table)\b[^\n]*",
            text,
            re.M,
        )
    ]
    spans += [found.span() for found in re.finditer(r"^    where kind not like[^\n]*", text, re.M)]
    # First values of variables.
    spans += [
        found.span() for found in re.finditer(r"^    \w+ (?:constant )?\w+ := .*$", text, re.M)
    ]
    spans += [found.span() for found in re.finditer(r"\bfor each statement execute[^;]*", text)]
    spans += [found.span() for found in re.finditer(r"\border by[^\n)]*?(?= for |\)|\n)", text)]
    return spans


def mutants(file: str) -> list[Mutant]:
    """Return every mutant of a file, in the order of the text."""
    found = {*_operators(file), *_arms(file), *_structure(file)}
    return sorted(found, key=lambda each: (each.start, each.end, each.text))


def all_mutants() -> list[Mutant]:
    """Return every mutant there is."""
    return [mutant for file in files() for mutant in mutants(file)]


def _operators(file: str) -> Iterator[Mutant]:
    text = blanked(read(file))
    closed = [*_frames(text), *_targets(text)]
    for pattern, becomes in OPERATORS:
        for found in re.finditer(pattern, text):
            start, end = found.span()
            if any(low <= start < high for low, high in closed) or _is_bound(text, found):
                continue
            yield Mutant(file, start, end, found.expand(becomes))


def _is_bound(text: str, found: re.Match[str]) -> bool:
    # The `and` of `between … and …` has rules of its own.
    return found.group() == " and " and bool(re.search(r"between \S+$", text[: found.start()]))


def _targets(text: str) -> list[tuple[int, int]]:
    """Return the equal signs of assignments in UPDATE."""
    spans = []
    for found in ARM.finditer(text):
        for column, begin, _ in _assignments(found.group(2), found.start(2)):
            sign = text.index("=", begin + len(column))
            spans.append((sign, sign + 1))
    return spans


def _arms(file: str) -> Iterator[Mutant]:
    """Yield each assignment of an UPDATE that assigns nothing new."""
    text = blanked(read(file))
    for found in ARM.finditer(text):
        for column, begin, end in _assignments(found.group(2), found.start(2)):
            end = begin + len(read(file)[begin:end].rstrip())
            yield Mutant(file, begin, end, f"{column} = {found.group(1)}.{column}")


def _assignments(body: str, offset: int) -> Iterator[tuple[str, int, int]]:
    depth = start = 0
    for place, letter in enumerate(f"{body},"):
        depth += letter in "([" and 1
        depth -= letter in ")]" and 1
        if letter == "," and depth == 0:
            part = body[start:place]
            lead = len(part) - len(part.lstrip())
            yield part.split()[0], offset + start + lead, offset + place
            start = place + 1


def _structure(file: str) -> Iterator[Mutant]:
    """Yield each constraint and trigger that is gone, and each event that a trigger misses."""
    text = blanked(read(file))
    for found in [*CONSTRAINT.finditer(text), *COLUMN_CHECK.finditer(text)]:
        end = definition_end(text, found.start("body"))
        begin = found.start() if "name" in found.groupdict() else found.start("body")
        yield Mutant(file, begin, end, "")
    for found in TRIGGER.finditer(text):
        yield Mutant(file, *found.span(), "")
        for event in EVENTS:
            for place in re.compile(event).finditer(text, *found.span()):
                yield Mutant(file, *place.span(), "")


def definition_end(text: str, start: int) -> int:
    """Return where the definition of a constraint ends: at a comma or the end of its list."""
    depth = 0
    for place in range(start, len(text)):
        if text[place] == "(":
            depth += 1
        elif text[place] == ")":
            depth -= 1
            if depth < 0:
                return place
        elif text[place] in ",;" and depth == 0:
            return place
    return len(text)
