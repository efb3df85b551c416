"""People and places: alice and bob are strangers, each with a personal workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from accounts import keys, members, signup
from accounts.models import ApiKey, User, Workspace

PASSWORD = "a-long-enough-pass"


class Person(Protocol):
    """Makes people."""

    def __call__(self, name: str, *, verified: bool = True) -> User: ...


@pytest.fixture
def person(db: None) -> Person:
    def make(name: str, *, verified: bool = True) -> User:
        return signup.register(email=f"{name}@example.com", password=PASSWORD, verified=verified)

    return make


@pytest.fixture
def alice(person: Person) -> User:
    return person("alice")


@pytest.fixture
def bob(person: Person) -> User:
    return person("bob")


@pytest.fixture
def home(alice: User) -> Workspace:
    """Alice's personal workspace."""
    return Workspace.objects.get(personal_of=alice)


@pytest.fixture
def away(bob: User) -> Workspace:
    """Bob's personal workspace."""
    return Workspace.objects.get(personal_of=bob)


@pytest.fixture
def key(alice: User, home: Workspace) -> ApiKey:
    """Alice's key for chat at home."""
    return keys.create(name="key", workspaces=[home], user=alice, scopes=["chat"], by=alice)[0]


@pytest.fixture
def join() -> Callable[[User, Workspace, str], None]:
    """Make someone a member, as an operator would."""

    def add(user: User, workspace: Workspace, role: str) -> None:
        members.add(workspace=workspace, user=user, role=role, by=None)

    return add


@pytest.fixture
def root(db: None) -> User:
    """A superuser."""
    return User.objects.create_superuser("root@example.com", "a-long-pass")
