"""
Stripe's published description of its API, as its own Python library carries it.

The library's classes and parameters are generated from Stripe's OpenAPI description (each file
says so), at the version that we pin; nothing of it is copied here. What the library leaves open
is taken strictly: one of the values that it names where it names any, no field that it does not
know. It cannot tell a field that may be null from one that may be missing: either is taken.
"""

from __future__ import annotations

import ast
import re
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union

import stripe
from stripe._list_object import ListObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._request_options import RequestOptions
from stripe._search_result_object import SearchResultObject
from stripe._stripe_object import StripeObject, UntypedStripeObject

from tests.fakes.stripe.form import Body

ROOT = Path(str(stripe.__file__)).parent
VERSION = stripe.api_version
SCALARS: dict[Any, type | tuple[type, ...]] = {
    int: int,
    str: str,
    bool: bool,
    float: (int, float),
    Decimal: str,
}


class Names(dict[str, Any]):
    """What a module of the library would see if it imported what it names only for types."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self._module = import_module(module)
        tree = ast.parse(Path(str(self._module.__file__)).read_text())
        self._imports = {
            alias.asname or alias.name: (str(node.module), alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def __missing__(self, name: str) -> Any:
        if name not in self._imports or hasattr(self._module, name):
            raise KeyError(name)
        module, attribute = self._imports[name]
        self[name] = getattr(import_module(module), attribute)
        return self[name]


names = cache(Names)


@cache
def fields(kind: Any) -> Mapping[str, Any]:
    """What one of the library's classes says of its fields."""
    own = {
        name: said
        for name, said in vars(kind).get("__annotations__", {}).items()
        if not name.startswith("_") and name != "OBJECT_NAME"
    }
    return _hints(kind.__module__, own)


def _hints(module: str, said: dict[str, Any]) -> dict[str, Any]:
    stand_in = type("StandIn", (), {"__annotations__": said})
    return typing.get_type_hints(stand_in, vars(import_module(module)), names(module))


def _origin(wanted: Any) -> Any:
    found = typing.get_origin(wanted)
    return Union if found is types.UnionType else found


# -- Objects --------------------------------------------------------------------------------


def kind_of(body: Body) -> Any:
    """The class of an object by what it says it is."""
    module, name = OBJECT_CLASSES[body["object"]]
    return getattr(import_module(module), name)


def faults(body: Any) -> list[str]:
    """What Stripe would never answer like this."""
    if not isinstance(body, dict) or body.get("object") not in OBJECT_CLASSES:
        return ["no object of Stripe's"]
    if body["object"] in ("list", "search_result"):
        wrong = [] if isinstance(body.get("has_more"), bool) else ["has_more is not said"]
        return wrong + [each for row in body["data"] for each in faults(row)]
    wrong = list(_faults(body, kind_of(body), body["object"]))
    if body["object"] == "event":
        wrong += faults(body["data"]["object"])
    return wrong


def _faults(value: Any, wanted: Any, at: str) -> Iterator[str]:
    origin, inner = _origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return
    if origin is Union:
        yield from _either(value, inner, at)
    elif origin is Literal:
        if value not in inner:
            yield f"{at} is {value!r}, not one of {inner}"
    elif wanted in SCALARS:
        if not isinstance(value, SCALARS[wanted]) or (
            isinstance(value, bool) and wanted is not bool
        ):
            yield f"{at} is {value!r}, no {wanted.__name__}"
    elif origin in (list, ListObject, SearchResultObject):
        rows = value.get("data") if origin is not list and isinstance(value, dict) else value
        if not isinstance(rows, list):
            yield f"{at} is no list"
            return
        for number, each in enumerate(rows):
            yield from _faults(each, inner[0], f"{at}.{number}")
    elif origin in (dict, UntypedStripeObject) or wanted in (dict, UntypedStripeObject):
        yield from _mapping(value, inner[-1] if inner else Any, at)
    elif wanted is type(None):
        if value is not None:
            yield f"{at} is not null"
    else:
        yield from _object(value, wanted, at)


def _either(value: Any, kinds: tuple[Any, ...], at: str) -> Iterator[str]:
    if value is None and type(None) in kinds:
        return
    named = [each for each in kinds if typing.get_origin(each) is Literal]
    if isinstance(value, str) and named and str in kinds:
        # The library also takes values of tomorrow; a stand-in has no need of them.
        kinds = tuple(each for each in kinds if each is not str)
    if isinstance(value, dict) and set(kinds) - SCALARS.keys() - {type(None)}:
        kinds = tuple(each for each in kinds if each not in SCALARS)
    tried = [list(_faults(value, each, at)) for each in kinds if each is not type(None)]
    yield from min(tried, key=lambda wrong: (len(wrong), wrong))


def _mapping(value: Any, inner: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    for name, each in value.items():
        yield from _faults(each, inner, f"{at}.{name}")


def _object(value: Any, kind: Any, at: str) -> Iterator[str]:
    if not issubclass(kind, StripeObject):
        raise TypeError(f"{at}: the description says {kind}, which nobody here reads")
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    known = fields(kind)
    if value.get("deleted") is True:
        known = {name: known[name] for name in ("id", "object", "deleted")}
    for name in value.keys() - known.keys():
        yield f"{at}.{name} is no field"
    for name, wanted in known.items():
        if name in value:
            yield from _faults(value[name], wanted, f"{at}.{name}")
        elif type(None) not in typing.get_args(wanted):
            yield f"{at}.{name} is missing"


def expandable(body: Body, path: str) -> bool:
    """Whether a field of an object may be asked for as a whole object."""
    if body["object"] in ("list", "search_result"):
        head, _, path = path.partition(".")
        return head == "data" and all(expandable(row, path) for row in body["data"])
    return _expandable(kind_of(body), path.split("."))


def _expandable(kind: Any, path: list[str]) -> bool:
    wanted = fields(kind).get(path[0])
    kinds = [each for each in _flat(wanted) if isinstance(each, type)]
    whole = [each for each in kinds if issubclass(each, StripeObject)]
    if str not in kinds or not whole:
        return False
    return len(path) == 1 or any(_expandable(each, path[1:]) for each in whole)


def _flat(wanted: Any) -> Iterator[Any]:
    if _origin(wanted) is Union:
        for each in typing.get_args(wanted):
            yield from _flat(each)
    else:
        yield wanted


# -- Requests -------------------------------------------------------------------------------


@cache
def calls(head: str) -> list[tuple[str, re.Pattern[str], type | None]]:
    """Every call of the API whose path begins like this: method, path, parameters."""
    found = []
    for file in sorted(ROOT.rglob("_*_service.py")):
        text = file.read_text()
        if f'"/v1/{head}' in text:
            module = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
            found += list(_calls(ast.parse(text), module))
    # A name before a place for any name: /search is no id.
    return sorted(found, key=lambda call: call[1].pattern.count("[^/]+"))


def _calls(tree: ast.Module, module: str) -> Iterator[tuple[str, re.Pattern[str], type | None]]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "_request":
                method, path = (_text(each) for each in call.args[:2])
                known = re.compile(re.sub(r"\{\w+\}", "[^/]+", path.removeprefix("/v1/")))
                yield method, known, _parameters(function, module)


def _text(node: ast.expr) -> str:
    return next(str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant))


def _parameters(function: ast.FunctionDef, module: str) -> type | None:
    for each in function.args.args:
        if each.arg == "params" and each.annotation is not None:
            said = [node for node in ast.walk(each.annotation) if isinstance(node, ast.Constant)]
            kind: type = names(module)[str(said[0].value)]
            return kind
    return None


def refusal(method: str, path: str, wanted: Body) -> str | None:
    """What Stripe would not take of a call, in its words; None where it takes all."""
    for known, pattern, kind in calls(path.split("/", 1)[0]):
        if known == method.lower() and pattern.fullmatch(path):
            found = _unknown(wanted, kind, "") if kind else (f"unknown: {n}" for n in wanted)
            return next(found, None)
    return f"Unrecognized request URL ({method}: /v1/{path})."


@cache
def _parts(kind: Any) -> tuple[Mapping[str, Any], frozenset[str]]:
    ours = kind.__annotations__.keys() - RequestOptions.__annotations__.keys()
    own = {name: kind.__annotations__[name] for name in ours}
    return _hints(kind.__module__, own), frozenset(kind.__required_keys__)


def _unknown(value: Any, wanted: Any, at: str) -> Iterator[str]:
    origin, inner = _origin(wanted), typing.get_args(wanted)
    if origin is Union:
        yield from _either_parameter(value, inner, at)
    elif origin is Literal:
        if value not in inner:
            yield f"Invalid {at}: must be one of {inner}"
    elif wanted in SCALARS or wanted is Any:
        if not _fits(value, wanted):
            yield f"Invalid {wanted}: {at}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"Invalid array: {at}"
            return
        for each in value:
            yield from _unknown(each, inner[0], f"{at}[]")
    elif origin in (dict, UntypedStripeObject):
        if not isinstance(value, dict):
            yield f"Invalid object: {at}"
            return
        for name, each in value.items():
            yield from _unknown(each, inner[-1], f"{at}[{name}]")
    else:
        yield from _unknown_parts(value, wanted, at)


def _unknown_parts(value: Any, kind: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"Invalid object: {at}"
        return
    known, required = _parts(kind)
    for name, each in value.items():
        inside = f"{at}[{name}]" if at else name
        if name in known:
            yield from _unknown(each, known[name], inside)
        else:
            yield f"Received unknown parameter: {inside}"
    for name in sorted(required - value.keys()):
        yield f"Missing required param: {at}[{name}]" if at else f"Missing required param: {name}"


def _either_parameter(value: Any, kinds: tuple[Any, ...], at: str) -> Iterator[str]:
    named = [args for each in kinds if (args := typing.get_args(each)) and _is_literal(each)]
    if str in kinds and any(args != ("",) for args in named):
        kinds = tuple(each for each in kinds if each is not str)
    tried = [list(_unknown(value, each, at)) for each in kinds if each is not type(None)]
    yield from min(tried, key=lambda wrong: (len(wrong), wrong))


def _is_literal(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    if not isinstance(value, str):
        return False
    if wanted is int:
        return re.fullmatch(r"-?\d+", value) is not None
    if wanted is bool:
        return value in ("true", "false")
    if wanted in (float, Decimal):
        return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    return True
