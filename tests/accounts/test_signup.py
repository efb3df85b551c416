from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress

from accounts import signup, workspaces
from accounts.errors import Invalid, NotVerified
from accounts.models import User, Workspace

PASSWORD = "a-long-enough-pass"


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[User]:
    """The people whose proof of address was told to the layers above."""
    seen: list[User] = []
    monkeypatch.setattr(signup, "on_verified", [seen.append])
    return seen


@pytest.mark.django_db
class TestRegister:
    def test_a_person_has_a_workspace_and_an_unproved_address(self, announced: list[User]) -> None:
        user = signup.register(email=" Carol@Example.com ", password=PASSWORD, name="Carol")
        place = Workspace.objects.get(personal_of=user)
        assert (user.email, user.name) == ("carol@example.com", "Carol")
        assert user.check_password(PASSWORD)
        assert workspaces.role_in(user=user, workspace=place) == "owner"
        assert not signup.is_verified(user)
        assert announced == []

    def test_a_proved_address_is_announced(self, announced: list[User]) -> None:
        user = signup.register(email="carol@example.com", password=PASSWORD, verified=True)
        assert signup.is_verified(user)
        assert announced == [user]

    def test_an_address_is_taken_once_in_any_capitals(self) -> None:
        signup.register(email="carol@example.com", password=PASSWORD)
        with pytest.raises(Invalid, match="already"):
            signup.register(email="CAROL@example.com", password=PASSWORD)

    @pytest.mark.parametrize(
        ("email", "password"),
        [("carol", PASSWORD), ("", PASSWORD), ("carol@example.com", "12345678")],
    )
    def test_bad_addresses_and_weak_passwords_leave_nothing(
        self, email: str, password: str
    ) -> None:
        with pytest.raises(Invalid):
            signup.register(email=email, password=password)
        assert not User.objects.exists()

    def test_when_a_layer_above_fails_nothing_is_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_user: User) -> None:
            raise RuntimeError("no grant")

        monkeypatch.setattr(signup, "on_verified", [fail])
        with pytest.raises(RuntimeError):
            signup.register(email="carol@example.com", password=PASSWORD, verified=True)
        assert not User.objects.exists()


class TestIsVerified:
    def test_only_the_proof_of_the_login_address_counts(self, alice: User) -> None:
        assert signup.is_verified(alice)
        EmailAddress.objects.filter(user=alice).update(email="old@example.com")
        assert not signup.is_verified(alice)

    def test_another_persons_proof_does_not_count(self, alice: User, person: Any) -> None:
        carol = person("carol", verified=False)
        assert not signup.is_verified(carol)
        with pytest.raises(NotVerified, match="Confirm"):
            signup.require_verified(carol)
        signup.require_verified(alice)
