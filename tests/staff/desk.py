"""Staff at their desk: signed in, taking steps as a browser would."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from tests import staffing


def clerk(*permissions: str, superuser: bool = False, name: str = "clerk") -> User:
    """Somebody who works here, with some permissions such as ``accounts.move_money``."""
    email = f"{name}@example.com"
    if superuser:
        return User.objects.create_superuser(email, "a-long-pass-word")
    user = User.objects.create_user(email, "a-long-pass-word", is_staff=True)
    for each in permissions:
        app, codename = each.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return user


def desk(user: User) -> Client:
    """A browser in which somebody of the staff is signed in."""
    return staffing.sign_in(Client(), user)


class Hidden(HTMLParser):
    """The hidden fields of a page's last form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        named = dict(attrs)
        if tag == "input" and named.get("type") == "hidden":
            self.fields[str(named["name"])] = named.get("value") or ""


def open_form(client: Client, url: str) -> dict[str, str]:
    """The hidden fields of a step's page."""
    page = client.get(url)
    assert page.status_code == 200, page.status_code
    return Hidden(page.content.decode()).fields


def take(client: Client, url: str, **answers: Any) -> Any:
    """Open a step's page, answer it and send it."""
    given = {"reason": "Because of a test"} | answers
    return client.post(url, open_form(client, url) | given, follow=True)
