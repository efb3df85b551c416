"""Ids in all their forms."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import ids


class TestRequestId:
    def test_is_a_version_7_uuid_of_now(self) -> None:
        value = ids.request_id()

        assert (value.version, value.variant) == (7, "specified in RFC 4122")
        assert abs((value.int >> 80) / 1000 - time.time()) < 5

    def test_sorts_by_time(self) -> None:
        first = ids.request_id()
        time.sleep(0.002)

        assert first < ids.request_id()


class TestForms:
    @given(st.uuids(), st.sampled_from(ids.REQUEST_PREFIXES))
    def test_every_form_is_read_back(self, value: UUID, prefix: str) -> None:
        assert ids.parse_request(ids.form(prefix, value)) == value

    @pytest.mark.parametrize(
        "text", ["", "req_", "req_short", "key_" + "0" * 26, "req_" + "z" * 26, "req_" + "u" * 26]
    )
    def test_anything_else_is_none(self, text: str) -> None:
        assert ids.parse_request(text) is None


class TestSource:
    def test_is_the_same_for_the_same_object_only(self) -> None:
        assert ids.source("stripe", "pi_1") == ids.source("stripe", "pi_1")
        assert ids.source("stripe", "pi_1") != ids.source("stripe", "pi_2")
        assert ids.source("stripe", "pi_1") != ids.source("chain", "pi_1")
