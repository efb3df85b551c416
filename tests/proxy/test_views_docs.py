"""The documentation as pages."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.utils.translation import override

from proxy import manual
from tests import pages

# Variables that readers set in their own shells, in examples.
THEIRS = {"TOLLGATE_KEY", "REQUEST_ID", "MANAGEMENT_KEY"}


class TestChapters:
    @pytest.mark.parametrize("slug", manual.CHAPTERS)
    def test_each_is_there_for_strangers_and_links_to_what_there_is(self, slug: str) -> None:
        answer = pages.browser().get(f"/docs/{slug}")

        page = answer.content.decode()
        links = re.findall(r'href="/docs/([a-z]+)', page)
        assert answer.status_code == 200
        assert "<h1>" in page
        assert set(links) <= {*manual.CHAPTERS, "api"}
        assert '.md"' not in page

    @pytest.mark.parametrize("slug", manual.CHAPTERS)
    def test_readers_are_told_titles_and_no_files(self, slug: str) -> None:
        words = re.sub(r"<[^>]+>", "", manual.written(slug))

        assert not re.search(r"\b[a-z]+\.md\b|\.py\b|&lt;!--", words)

    def test_what_only_operators_need_is_left_out(self) -> None:
        assert "for operators" in (settings.BASE_DIR / "docs" / "limits.md").read_text()
        for slug in manual.CHAPTERS:
            assert not re.search("issue_key|Redis", manual.written(slug)), slug

    @pytest.mark.parametrize("slug", manual.CHAPTERS)
    def test_no_setting_of_the_operator_is_named(self, slug: str) -> None:
        words = re.sub(r"<[^>]+>", "", manual.written(slug))

        named = set(re.findall(r"[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+", words))
        assert named <= THEIRS
        assert "manage.py" not in words

    def test_a_link_has_the_title_of_its_page(self) -> None:
        assert '<a href="/docs/limits">Limits and receipts</a>' in manual.written("quickstart")
        assert '<a href="/docs/compatibility">Compatibility</a>' in manual.written("sdks")

    @pytest.mark.parametrize("slug", manual.CHAPTERS)
    def test_the_menu_and_the_page_have_one_title(self, slug: str) -> None:
        with override("en"):
            menu = str(manual.CHAPTERS[slug])

        assert f"<h1>{menu}</h1>" in manual.written(slug)

    def test_addresses_are_this_servers(self, settings: object) -> None:
        settings.BASE_URL = "https://api.example.com"  # type: ignore[attr-defined]
        manual.written.cache_clear()

        page = pages.browser().get("/docs/quickstart").content.decode()
        manual.written.cache_clear()

        assert "https://api.example.com/v1/chat/completions" in page
        assert manual.WRITTEN_FOR not in page

    def test_it_begins_at_the_beginning(self) -> None:
        assert pages.browser().get("/docs")["Location"] == "/docs/quickstart"

    def test_files_for_operators_are_no_pages(self) -> None:
        assert pages.browser().get("/docs/operations").status_code == 404
