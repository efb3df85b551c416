"""Databases of the benchmark, each made and asked by programs of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.bench.contenders import Stubs
from tests.bench.peers import ROOT


@dataclass(frozen=True, slots=True)
class Database:
    """One database with its customers' keys, and the environment of a gateway on it."""

    environment: dict[str, str]
    keys: list[str]


@dataclass(frozen=True, slots=True)
class Books:
    """What the books of one database say at one time."""

    settled: int
    charged: int
    balance: int
    held: int
    uncapped: int
    durable: str
    postgres: str
    size_bytes: int
    ok: bool = True
    verify_s: float = 0.0
    wrong: tuple[Any, ...] = ()


def make(
    name: str,
    there: Stubs,
    *,
    redis: int,
    customers: int = 1,
    calls: int = 0,
    keys: int = 1,
    crowd: int = 0,
) -> Database:
    """Make a database beside the one of the environment, with its own part of Redis."""
    url, store = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    environment = {
        "DATABASE_URL": f"{url.rpartition('/')[0]}/{name}",
        "REDIS_URL": f"{store.rpartition('/')[0]}/{redis}",
    }
    plan = {
        "upstream_port": there.upstream_port,
        "stream_port": there.stream_port,
        "customers": customers,
        "calls": calls,
        "keys": keys,
        "crowd": crowd,
    }
    return Database(environment, _ask(environment, "tests.bench.shop", json.dumps(plan)))


def books(database: Database, *, verify: bool = False) -> Books:
    """Ask the books; with ``verify`` the invariants as well."""
    words = ["verify"] if verify else []
    return Books(**_ask(database.environment, "tests.bench.books", *words))


def pages(database: Database) -> list[dict[str, Any]]:
    """Time the dashboard's pages."""
    told: list[dict[str, Any]] = _ask(database.environment, "tests.bench.pages")
    return told


def lists(database: Database) -> list[dict[str, Any]]:
    """Time the lists of the management API, and the pages, in a crowded workspace."""
    told: list[dict[str, Any]] = _ask(database.environment, "tests.bench.lists")
    return told


def _ask(environment: dict[str, str], module: str, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])
