"""What our own code never does, whatever anybody asks of it: read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("accounts", "billing", "proxy", "platform")
# Each makes a program, or an object of any class, out of text.
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
READS_OBJECTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jinja2"}
FROM_TEXT = {"from_string", "Template"}
SHELLS = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput")}
# The class is a setting of ours, never anything that somebody sent.
BY_NAME = {"billing/topups.py": "import_string", "platform/config/apps.py": "import_module"}
# Where the process' own environment is written, for a library that reads it.
WRITES_ENVIRONMENT = {"platform/common/metrics.py"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the product."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def called(node: ast.Call) -> tuple[str, str]:
    """Return whose function is called, as far as it is written there, and its name."""
    function = node.func
    if isinstance(function, ast.Attribute):
        owner = function.value
        return (owner.id if isinstance(owner, ast.Name) else "", function.attr)
    return ("", function.id if isinstance(function, ast.Name) else "")


def calls() -> Iterator[tuple[str, str, str, ast.Call]]:
    for name, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield name, *called(node), node


def test_no_text_becomes_a_program() -> None:
    for place, owner, name, _ in calls():
        assert owner or name not in RUNS_TEXT, (place, name)
        assert (owner, name) not in SHELLS, (place, name)
        if name in ("import_string", "import_module"):
            assert BY_NAME.get(place) == name, place


def test_no_command_goes_through_a_shell() -> None:
    for place, _, _, node in calls():
        assert "shell" not in {keyword.arg for keyword in node.keywords}, place


def test_no_text_becomes_a_template() -> None:
    for place, _, name, _ in calls():
        assert name not in FROM_TEXT, (place, name)


def test_nothing_is_read_that_can_make_objects_of_any_class() -> None:
    for place, module in modules():
        for node in ast.walk(module):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not READS_OBJECTS & {name.partition(".")[0] for name in names}, place


def test_no_file_is_taken_from_a_caller() -> None:
    for place, module in modules():
        read = {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}
        assert not read & {"FILES", "FileField", "ImageField", "FilePathField"}, place


def test_no_request_changes_the_configuration() -> None:
    for place, module in modules():
        for node in ast.walk(module):
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AugAssign | ast.AnnAssign)
                else []
            )
            for target in targets:
                written = ast.unparse(target)
                assert not written.startswith("settings."), (place, written)
                if written.startswith("os.environ"):
                    assert place in WRITES_ENVIRONMENT, place


def test_each_secret_has_one_purpose() -> None:
    # Who reads a secret: the rest of the product cannot use it for something else.
    purposes = {
        "SECRET_KEY": {"platform/config/startup.py"},
        "ENCRYPTION_KEYS": {
            *("platform/config/startup.py", "platform/common/crypto.py", "proxy/resealing.py")
        },
        "KEY_PEPPERS": {
            *("platform/config/startup.py", "accounts/", "proxy/health.py"),
            "proxy/management/commands/restore.py",
        },
        "STRIPE_WEBHOOK_SECRETS": {"platform/config/startup.py", "billing/"},
    }
    found = set()
    for place, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and node.attr in purposes:
                found.add(node.attr)
                assert place.startswith(tuple(purposes[node.attr])), (place, node.attr)
    assert found == set(purposes)
