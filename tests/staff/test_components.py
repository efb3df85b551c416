"""The page of components: for staff only, and complete."""

from __future__ import annotations

import pytest
from django.conf import settings

from accounts.models import User
from tests import pages
from tests.pages import Inline
from tests.staff.desk import clerk, desk

pytestmark = pytest.mark.django_db
URL = "/staff/components"
NAMED = ("card", "table", "form-row", "empty-state", "banner", "dialog", "toast", "chart")
# The frame of every page, and parts that are a page of their own.
SHOWN_ELSEWHERE = {"nav", "nav_item", "switcher", "language", "impersonation"}
SHOWN_ELSEWHERE |= {"calculator", "quote", "toasts", "zone"}


class TestComponents:
    def test_each_is_shown_by_the_include_that_pages_use(self) -> None:
        page = desk(clerk(superuser=True, name="boss")).get(URL).content.decode()
        words = (settings.BASE_DIR / "templates/admin/components.html").read_text()
        folder = settings.BASE_DIR / "templates/components"

        for name in (*NAMED, "copy-field"):
            assert f'data-testid="component-{name}"' in page, name
        for path in folder.glob("*.html"):
            shown = f'include "components/{path.name}"' in words
            assert shown or path.stem in SHOWN_ELSEWHERE, path.name
        assert page.count("data-dismissible") == 3
        assert Inline(page).found == []

    def test_customers_do_not_get_in(self, alice: User) -> None:
        assert pages.browser(alice).get(URL).status_code == 302
        assert pages.browser().get(URL).status_code == 302
