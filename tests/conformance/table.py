"""
docs/compatibility.md, written from a run of all clients: ``make compatibility``.

As a plugin of pytest (``-p tests.conformance.table``) it notes how each case went.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from tests.conformance.shapes import CLIENTS, SHAPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
PEERS = ROOT / "tests" / "peers"
PASS, FAIL, NONE = "pass", "**fail**", ""
Verdicts = Mapping[tuple[str, str], bool]
HEAD = """\
# Compatibility

Which request shapes were tried with which clients, each client as its makers ship it, told only
our base URL and a key, against the whole product and a scripted provider. An empty cell was not
tried.

<!-- Generated from that run, by `make compatibility`. The tests are in `tests/conformance` (Python,
part of `make test`) and `tests/peers` (the others, `make test-peers`). -->
"""
NOTES = """
- The Vercel AI SDK's `openai(model)` speaks the Responses API; its chat rows are of
  `openai.chat(model)`.
- LlamaIndex's `OpenAI` class takes only OpenAI's own model names: give a model such an alias
  (`gpt-4o` for `openai/gpt-4o`). For other names its makers have `OpenAILike`.
- LangChain's `OpenAIEmbeddings` sends tokens unless `check_embedding_ctx_length=False`.
"""

seen: dict[tuple[str, str], bool] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a case went; a failing set-up is a failing case."""
    report = yield
    case = case_of(item)
    if case is not None and (report.when == "call" or report.failed):
        seen[case] = seen.get(case, True) and report.passed
    return report


def pytest_sessionfinish() -> None:
    """Write the page once every case was tried."""
    missing = {(c, s) for c, client in CLIENTS.items() for s in client.shapes} - set(seen)
    assert not missing, f"not tried: {sorted(missing)}"
    PAGE.write_text(page(seen))


def case_of(item: pytest.Function) -> tuple[str, str] | None:
    """Return which client and shape a test is about, if it is."""
    client = getattr(item.module, "CLIENT", None)
    callspec = getattr(item, "callspec", None)
    shape = getattr(item.function, "shape", None) or (callspec and callspec.params.get("shape"))
    return (client, shape) if client and shape else None


def page(verdicts: Verdicts) -> str:
    """Return the page for what was seen."""
    titles = [f"{client.title} {version(name)}" for name, client in CLIENTS.items()]
    lines = [
        HEAD,
        row("Request", *titles),
        row(*["---"] * (len(CLIENTS) + 1)),
        *(
            row(title, *(cell(verdicts.get((client, shape))) for client in CLIENTS))
            for shape, title in SHAPES.items()
        ),
        NOTES,
    ]
    return "\n".join(lines).rstrip() + "\n"


def cell(passed: bool | None) -> str:
    """Return one cell."""
    return NONE if passed is None else PASS if passed else FAIL


def row(*cells: str) -> str:
    """Return one line of the table."""
    return f"| {' | '.join(cells)} |"


def version(client: str) -> str:
    """Return the version of a client that the lock files name."""
    file, name = {
        "openai-python": (ROOT / "requirements-dev.txt", "openai"),
        "openai-node": (PEERS / "node" / "package.json", "openai"),
        "ai-sdk": (PEERS / "node" / "package.json", "ai"),
        "langchain": (PEERS / "langchain" / "requirements.txt", "langchain-openai"),
        "llamaindex": (PEERS / "llamaindex" / "requirements.txt", "llama-index-llms-openai"),
    }[client]
    if file.suffix == ".json":
        return str(json.loads(file.read_text())["dependencies"][name])
    found = re.search(rf"^{name}==(\S+)", file.read_text(), re.MULTILINE)
    assert found is not None, f"{file} has no {name}"
    return found[1]
