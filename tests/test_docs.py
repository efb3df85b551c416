"""The documentation says what is true."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import get_commands, load_command_class

from common import reasons
from config import reference

ROOT = Path(__file__).resolve().parents[1]
TOP = ("README.md", "CHANGELOG.md", "SECURITY.md", "UPGRADING.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CALLS = "tests/journeys/test_documented_calls.py::test_every_call_that_is_written_works"
# Which test runs the lines of each page's blocks of shell that begin like this.
EXERCISED = {
    ("README.md", "make run"): "tests/journeys/test_make_run.py::product",
    ("README.md", "KEY="): CALLS,
    ("README.md", "curl "): CALLS,
    ("README.md", ".venv/bin/python manage.py load_catalogue"): (
        "tests/proxy/test_commands.py::test_it_loads_and_says_what_it_did"
    ),
    ("README.md", "OPENAI_API_KEY=… .venv/bin/python manage.py load_catalogue"): (
        "tests/proxy/test_commands.py::test_it_loads_and_says_what_it_did"
    ),
    ("README.md", "make test"): ".ci/run::step test make test",
    ("README.md", "make check"): ".ci/run::step check make check",
    ("README.md", "make test-peers"): ".ci/run::step test-peers make test-peers",
    # It takes hours: its parts start, and its Makefile's line is looked at below.
    ("README.md", "make bench"): "tests/test_docs.py::test_what_make_starts_is_there",
    ("api.md", "curl "): CALLS,
    ("disconnects.md", "curl "): CALLS,
    ("quickstart.md", "curl "): CALLS,
    ("quickstart.md", "export TOLLGATE_KEY="): CALLS,
    ("crypto.md", "PYTHONPATH=platform .venv/bin/python -m tests.fakes.pay.send"): (
        "tests/peers/test_pay.py::tests.fakes.pay.send"
    ),
    ("surfaces.md", "export BASE="): "tests/proxy/surfaces/test_examples.py::test_work",
    ("surfaces.md", "curl "): "tests/proxy/surfaces/test_examples.py::test_work",
}


def test_the_page_of_errors_is_the_list_of_reasons() -> None:
    written = (ROOT / "docs" / "errors.md").read_text()

    assert written == reasons.page(), "run: python -m common.reasons > docs/errors.md"


@cache
def places(page: Path) -> set[str]:
    """The anchors of a page: its headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {each.replace(" ", "-") for each in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}", parts.netloc), link
            continue
        target = page if not parts.path else (page.parent / parts.path).resolve()
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if parts.fragment:
            assert parts.fragment in places(target), link


def lines_of_shell() -> Iterator[tuple[str, str]]:
    """Each line that a page tells to run, with the page's name."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.M | re.S):
            for line in block.splitlines():
                if line.strip() and not line.startswith("#"):
                    yield page.name, line


def test_every_command_of_a_page_has_the_test_that_runs_it() -> None:
    used = set()
    for page, line in lines_of_shell():
        known = [each for each in EXERCISED if each[0] == page and line.startswith(each[1])]
        assert known, (page, line)
        used |= set(known)
    assert used == set(EXERCISED), "what no page says any more"
    for test in EXERCISED.values():
        path, _, name = test.partition("::")
        assert name in (ROOT / path).read_text(), test


def targets() -> list[str]:
    found = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_every_make_that_a_page_names_is_there() -> None:
    named = {each for page in PAGES for each in re.findall(r"`make ([a-z-]+)", page.read_text())}
    named |= {line.split()[1] for _, line in lines_of_shell() if line.startswith("make ")}
    assert {"run", "test", "check", "bench"} <= named <= set(targets())


@pytest.mark.parametrize("target", targets())
def test_what_make_starts_is_there(target: str) -> None:
    # -n: each line is said and none is run.
    said = subprocess.run(
        [shutil.which("make") or "make", "-n", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    modules = re.findall(
        r"python(?: -W \w+)? -m ((?:tests|embedded|common|config)[\w.]*)", said.stdout
    )
    for module in modules:
        path = module.replace(".", "/")
        rooms = (ROOT, ROOT / "platform")
        files = [room / f"{path}{end}" for room in rooms for end in (".py", "/__main__.py")]
        assert any(file.exists() for file in files), module
    for file in re.findall(r"python ([\w./]+\.py)", said.stdout):
        assert (ROOT / file).exists(), file


COMMANDS = sorted(
    name for name, app in get_commands().items() if app in ("accounts", "billing", "proxy")
)


def test_every_command_of_ours_is_described_and_every_one_described_exists() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page.partition("## Commands")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0].replace("\\|", "|") for line in table.splitlines()]
    described = {}
    for row in rows:
        if found := re.match(r"\| `([a-z_]+)(.*)`", row):
            described[found[1]] = set(re.findall(r"--[a-z-]+", found[2]))
    assert set(described) == set(COMMANDS)
    for name, flags in described.items():
        command = load_command_class(get_commands()[name], name)
        known = command.create_parser("manage.py", name)._option_string_actions
        assert flags <= set(known), (name, flags - set(known))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_manage_py_in_a_text_names_a_command(page: Path) -> None:
    for line in re.findall(r"manage\.py ([^`\n]+)", page.read_text()):
        name, *words = shlex.split(line.replace("…", "…x"), comments=True) or [""]
        if not re.fullmatch(r"[a-z_]+", name):
            continue
        assert name in get_commands(), (page.name, line)
        command = load_command_class(get_commands()[name], name)
        known = command.create_parser("manage.py", name)._option_string_actions
        assert {word for word in words if word.startswith("--")} <= set(known), line


def test_every_variable_of_the_settings_is_documented() -> None:
    settings = (ROOT / "platform" / "config" / "settings.py").read_text()
    read = set(re.findall(r"(?:env\.\w+|keyring)\(\s*\"([A-Z_0-9]+)\"", settings))

    assert len(read) > 20
    assert read == set(reference.MEANINGS), "say what each is for in platform/config/reference.py"


def test_the_page_of_the_configuration_is_made_from_the_settings() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()

    assert written == reference.page(), (
        "run: PYTHONPATH=platform .venv/bin/python -m config.reference --write"
    )
