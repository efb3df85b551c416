"""Markdown as HTML that a page may show."""

from __future__ import annotations

from common import markdown


class TestHtml:
    def test_tags_are_shown_not_obeyed(self) -> None:
        assert "<script>" not in markdown.html("<script>alert(1)</script>\n\na <b>b</b>")

    def test_a_script_address_is_no_link(self) -> None:
        assert "href" not in markdown.html("[x](javascript:alert(1))")

    def test_a_link_goes_where_it_is_sent(self) -> None:
        html = markdown.html("[a](a.md) [b](b.md)", place=lambda link: {"a.md": "/a"}.get(link))

        assert '<a href="/a">a</a> b' in html

    def test_a_table_scrolls_by_itself(self) -> None:
        html = markdown.html("| a |\n|---|\n| b |")

        assert '<div class="scroll-x" tabindex="0"><table class="table table-sm">' in html

    def test_a_long_path_breaks_between_its_parts(self) -> None:
        html = markdown.html("`GET /keys/{key}/disable`")

        assert "<code>GET /keys/<wbr>{key}/<wbr>disable</code>" in html


class TestBreakable:
    def test_a_name_breaks_between_its_parts(self) -> None:
        assert markdown.breakable("sandbox/echo_2") == "sandbox/<wbr>echo_<wbr>2"

    def test_tags_in_a_name_are_shown_not_obeyed(self) -> None:
        assert markdown.breakable("a/<b>") == "a/<wbr>&lt;b&gt;"
