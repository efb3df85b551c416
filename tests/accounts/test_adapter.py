from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import setup_user_email
from django import forms
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts import signup
from accounts.adapter import AccountAdapter
from accounts.models import User, Workspace


@pytest.fixture
def request_(rf: RequestFactory) -> HttpRequest:
    request = rf.post("/signup")
    for middleware in (SessionMiddleware, MessageMiddleware):
        middleware(lambda _request: HttpResponse()).process_request(request)
    return request


def signed_up(adapter: AccountAdapter, request: HttpRequest) -> User:
    form = forms.Form()
    form.cleaned_data = {
        "email": adapter.clean_email("Carol@Example.com"),
        "password1": "a-long-enough-pass",
    }
    user = adapter.save_user(request, adapter.new_user(request), form)
    assert isinstance(user, User)
    setup_user_email(request, user, [])
    return user


@pytest.mark.django_db
class TestSaveUser:
    def test_a_new_person_has_a_personal_workspace(self, request_: HttpRequest) -> None:
        user = signed_up(AccountAdapter(request_), request_)
        assert user.email == "carol@example.com"
        assert user.check_password("a-long-enough-pass")
        assert Workspace.objects.get(personal_of=user).name == "Personal"
        assert not signup.is_verified(user)


@pytest.mark.django_db
class TestConfirmEmail:
    def test_the_link_in_the_mail_proves_the_address_once(
        self, request_: HttpRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[User] = []
        monkeypatch.setattr(signup, "on_verified", [seen.append])
        user = signed_up(AccountAdapter(request_), request_)
        address = EmailAddress.objects.get(user=user)
        link = EmailConfirmationHMAC.create(address)
        for _ in range(2):
            again = EmailConfirmationHMAC.from_key(link.key)
            if again is not None:
                again.confirm(request_)
        assert signup.is_verified(user)
        assert seen == [user]

    def test_when_a_layer_above_fails_the_address_stays_unproved(
        self, request_: HttpRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_user: User) -> None:
            raise RuntimeError("no grant")

        monkeypatch.setattr(signup, "on_verified", [fail])
        adapter = AccountAdapter(request_)
        user = signed_up(adapter, request_)
        with pytest.raises(RuntimeError):
            adapter.confirm_email(request_, EmailAddress.objects.get(user=user))
        assert not signup.is_verified(user)

    def test_a_second_address_announces_nothing(
        self, request_: HttpRequest, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        EmailAddress.objects.filter(user=alice).update(verified=False)
        seen: list[User] = []
        monkeypatch.setattr(signup, "on_verified", [seen.append])
        second = EmailAddress.objects.create(user=alice, email="second@example.com")
        assert AccountAdapter(request_).confirm_email(request_, second)
        assert seen == []
