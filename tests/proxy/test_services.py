"""
What clients of five services rely on, and the tests that prove each line.

The wording of the lines is in docs/services.md.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "services.md"
COUNTS = {"NA": 13, "NB": 12, "NG": 12, "NY": 5, "NF": 5}
NA = "tests/proxy/services/test_neuroapi.py::"
NB = "tests/proxy/services/test_neuralbox.py::TestGenerate::"
NG = "tests/proxy/services/test_neurongate.py::"
NY = "tests/proxy/services/test_neyra.py::"
GENERATE = "tests/proxy/surfaces/test_generate.py::"
BACKGROUND = "tests/proxy/test_background.py::TestMake::"
IMAGES = "tests/proxy/surfaces/test_images.py::"
PROTOTYPES = "tests/proxy/surfaces/test_prototypes.py::TestChatCompletions::"
HEALTH = "tests/proxy/surfaces/test_prototypes.py::TestHealth::"
PEERS = "tests/peers/conformance/"
DASHBOARD = "tests/proxy/test_views_keys.py::TestCreate::"

PROOFS: dict[str, tuple[str, ...]] = {
    "NA-01": (
        NA + "TestTheSdk::test_needs_base_url_and_key_only",
        NA + "TestTheSdk::test_plain_http_does_the_same",
    ),
    "NA-02": (
        NA + "TestRoutes::test_the_cheapest_is_taken",
        NA + "TestRoutes::test_another_follows_where_it_fails",
        "tests/proxy/test_fallback.py::TestTheCheaperRouteFails"
        "::test_one_good_answer_one_charge_all_attempts_listed",
        IMAGES + "TestTrouble::test_another_route_is_tried_where_none_was_made",
    ),
    "NA-03": (
        NA + "TestTheSdk::test_plain_http_does_the_same",
        DASHBOARD + "test_the_key_is_shown_once_and_works",
    ),
    "NA-04": (NA + "TestParameters::test_model_and_messages_of_three_roles",),
    "NA-05": (NA + "TestParameters::test_travel_as_they_were_sent",),
    "NA-06": (
        NA + "TestParameters::test_travel_as_they_were_sent",
        NA + "TestParameters::test_a_tool_call_comes_back",
    ),
    "NA-07": (NA + "TestParameters::test_stream_gives_server_sent_events",),
    "NA-08": (NA + "TestParameters::test_travel_as_they_were_sent",),
    "NA-09": (
        NA + "TestParameters::test_travel_as_they_were_sent",
        NA + "TestParameters::test_a_seed_is_an_integer",
    ),
    "NA-10": (NA + "TestParameters::test_travel_as_they_were_sent",),
    "NA-11": (
        IMAGES + "TestAnswer::test_passes_the_picture_on_and_tells_the_cost",
        IMAGES + "TestAnswer::test_every_parameter_travels",
        IMAGES + "TestPrice::test_dall_e_makes_a_standard_picture_where_nothing_is_asked",
        IMAGES + "TestPrice::test_pictures_are_counted_in_the_answer",
        NA + "TestPictures::test_gpt_image_1_takes_every_size_and_quality",
    ),
    "NA-12": (
        IMAGES + "TestPrice::test_auto_holds_the_dearest_and_charges_what_was_made",
        IMAGES + "TestSandbox::test_the_official_sdk_gets_a_real_picture_of_the_size",
        NA + "TestPictures::test_gpt_image_1_takes_every_size_and_quality",
        NA + "TestPictures::test_anything_else_is_named",
    ),
    "NA-13": (NA + "TestModels::test_the_named_ones_can_be_listed",),
    "NB-01": (
        NB + "test_a_key_may_begin_with_nb",
        GENERATE + "TestAGeneration::test_the_documented_case_costs_three_tokens",
    ),
    "NB-02": (
        NB + "test_the_named_models_answer_under_their_slugs",
        NB + "test_a_model_is_required",
    ),
    "NB-03": (
        GENERATE + "TestAGeneration::test_the_caller_sends_the_whole_history",
        GENERATE + "TestAGeneration::test_what_it_does_not_take_is_refused",
    ),
    "NB-04": (GENERATE + "TestAStream::test_is_deltas_then_the_whole_object_then_done",),
    "NB-05": (
        GENERATE + "TestAGeneration::test_defaults_are_sent_and_what_is_ours_is_not",
        GENERATE + "TestAGeneration::test_what_is_given_goes_before_the_defaults",
        GENERATE + "TestAGeneration::test_no_temperature_is_sent_to_a_model_that_refuses_one",
    ),
    "NB-06": (
        GENERATE + "TestAGeneration::test_defaults_are_sent_and_what_is_ours_is_not",
        GENERATE + "TestAGeneration::test_what_is_given_goes_before_the_defaults",
    ),
    "NB-07": (
        GENERATE + "TestAGeneration::test_defaults_are_sent_and_what_is_ours_is_not",
        GENERATE + "TestAGeneration::test_what_it_does_not_take_is_refused",
    ),
    "NB-08": (
        GENERATE + "TestAGeneration::test_the_documented_case_costs_three_tokens",
        GENERATE + "TestAGeneration::test_the_smallest_call_costs_one_token",
        GENERATE + "TestAGeneration::test_a_failed_one_is_free_and_says_so_when_fetched",
        BACKGROUND + "test_is_pending_at_once_and_made_by_a_worker",
    ),
    "NB-09": (GENERATE + "TestAGeneration::test_the_documented_case_costs_three_tokens",),
    "NB-10": (
        GENERATE + "TestStatus::test_takes_any_form_of_the_id",
        GENERATE + "TestStatus::test_of_another_workspace_does_not_exist",
        GENERATE + "TestStatus::test_ends_with_its_time",
        BACKGROUND + "test_is_pending_at_once_and_made_by_a_worker",
        BACKGROUND + "test_a_failure_is_told_by_the_status",
    ),
    "NB-11": (GENERATE + "TestAGeneration::test_pictures_travel_in_a_message",),
    "NB-12": (GENERATE + "TestAGeneration::test_the_caller_sends_the_whole_history",),
    "NG-01": (
        NG + "TestPayment::test_a_call_costs_the_listed_price",
        NG + "TestPayment::test_a_deposit_of_crypto_pays_for_a_call",
        NA + "TestTheSdk::test_needs_base_url_and_key_only",
    ),
    "NG-02": (NG + "TestKeys::test_have_a_prefix_and_32_characters",),
    "NG-03": (NG + "TestKeys::test_come_in_either_header",),
    "NG-04": (
        NG + "TestParameters::test_keep_to_their_ranges",
        NG + "TestParameters::test_messages_have_three_roles",
        NG + "TestParameters::test_two_are_required",
        NG + "TestParameters::test_the_named_models_are_served",
        NG + "TestParameters::test_a_model_may_take_four_stop_sequences_only",
    ),
    "NG-05": (NG + "TestAnswers::test_have_the_documented_shape",),
    "NG-06": (
        NG + "TestAnswers::test_stream_as_documented",
        NG + "TestAnswers::test_a_stream_ends_with_an_empty_delta_whatever_the_provider_sends",
    ),
    "NG-07": (
        NG + "TestAnswers::test_models_are_listed_as_documented",
        NG + "TestPayment::test_a_call_costs_the_listed_price",
    ),
    "NG-08": (
        NG + "TestLimits::test_are_60_a_minute_100_a_day_1000_a_month",
        NG + "TestLimits::test_a_reached_spend_limit_is_429",
        DASHBOARD + "test_limits_and_expiry_are_kept",
    ),
    "NG-09": (NG + "TestLimits::test_too_many_requests_are_told_word_for_word",),
    "NG-10": (
        NG + "TestErrors::test_carry_the_documented_types",
        NG + "TestLimits::test_a_reached_spend_limit_is_429",
    ),
    "NG-11": (
        NG + "TestErrors::test_a_bad_key_is_told_word_for_word",
        NG + "TestErrors::test_carry_the_documented_types",
    ),
    "NG-12": (
        NG + "TestTheSdk::test_streams",
        NG + "TestTheSdk::test_raises_its_own_errors",
        NG + "TestTheSdk::test_lists_models",
        PEERS + "test_openai_node.py::test_is_served",
        PEERS + "test_langchain.py::test_is_served",
        PEERS + "test_llamaindex.py::test_is_served",
        PEERS + "test_vercel.py::test_is_served",
    ),
    "NY-01": (
        NY + "TestKeys::test_belong_to_people_or_to_service_accounts",
        NY + "TestKeys::test_are_restricted_to_scopes",
    ),
    "NY-02": (NY + "TestKeys::test_no_request_goes_without_one",),
    "NY-03": (NY + "TestTheSdk::test_takes_either_base_and_streams",),
    "NY-04": (
        NY + "TestTheSdk::test_takes_either_base_and_streams",
        NY + "TestParameters::test_a_models_name_is_taken_as_it_is_written",
    ),
    "NY-05": (
        NY + "TestParameters::test_two_are_required",
        NY + "TestParameters::test_the_others_travel",
        NY + "TestParameters::test_out_of_range_they_are_named",
    ),
    "NF-01": (
        PROTOTYPES + "test_the_two_headers_and_two_fields_are_enough",
        PROTOTYPES + "test_a_workspace_that_the_key_does_not_carry_is_403",
    ),
    "NF-02": (
        PROTOTYPES + "test_the_two_headers_and_two_fields_are_enough",
        PROTOTYPES + "test_model_and_messages_are_required",
    ),
    "NF-03": (
        PROTOTYPES + "test_ordinary_parameters_travel",
        PROTOTYPES + "test_structured_outputs_is_a_json_schema",
        PROTOTYPES + "test_reasoning_is_said_in_openais_word",
        PROTOTYPES + "test_thoughts_can_be_left_out",
        PROTOTYPES + "test_some_parameters_go_to_models_that_declare_them",
        PROTOTYPES + "test_it_streams",
    ),
    "NF-04": (
        PROTOTYPES + "test_an_empty_object_means_not_given",
        PROTOTYPES + "test_otherwise_the_types_are_those_of_v1",
    ),
    "NF-05": (
        HEALTH + "test_is_ok_and_free",
        HEALTH + "test_without_a_key_is_401",
        HEALTH + "test_for_a_foreign_workspace_is_403",
        HEALTH + "test_is_503_while_not_ready",
    ),
}
LINES = [f"{name}-{n:02}" for name, count in COUNTS.items() for n in range(1, count + 1)]


@cache
def collected(path: str) -> dict[str, str]:
    """Return the tests that a file holds, by the rest of their ids, with their docstrings."""
    tree = ast.parse((ROOT / path).read_text())
    found = {}
    for each in tree.body:
        holder = [each.name] if isinstance(each, ast.ClassDef) else []
        for test in each.body if isinstance(each, ast.ClassDef) else [each]:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                found["::".join([*holder, test.name])] = ast.get_docstring(test) or ""
    return found


class TestTheTable:
    def test_has_every_line_and_no_other(self) -> None:
        assert list(PROOFS) == LINES

    @pytest.mark.parametrize("line", LINES)
    def test_names_tests_that_are_there(self, line: str) -> None:
        assert PROOFS[line]
        for proof in PROOFS[line]:
            path, _, test = proof.partition("::")
            assert test in collected(path), proof

    def test_knows_what_the_services_own_tests_claim(self) -> None:
        """A docstring that names a line is in the table, where the test is such a client's."""
        for path in sorted((ROOT / "tests" / "proxy" / "services").glob("test_*.py")):
            name = str(path.relative_to(ROOT))
            for test, docstring in collected(name).items():
                for line in re.findall(r"\b[A-Z]{2}-\d\d\b", docstring):
                    assert f"{name}::{test}" in PROOFS[line], line


class TestThePage:
    def test_has_a_sentence_for_every_line_in_order(self) -> None:
        told = re.findall(r"^\| ([A-Z]{2}-\d\d) \| (.+\.) \|$", PAGE.read_text(), re.MULTILINE)

        assert [line for line, _ in told] == LINES
