"""What goes wrong around payments by card, and the tests that prove what becomes of it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EVENTS = "test_events.py::TestReceive::"
BOOK = "test_events.py::TestBook::"
POLLING = "test_events.py::TestPolling::"
AT_ONCE = "test_events.py::TestAtOnce::"
SESSION = "test_booking.py::TestBookSession::"
INTENT = "test_booking.py::TestBookIntent::"
OPEN = "test_booking.py::TestOpen::"
CHARGE = "test_cards.py::TestCharge::"
AUTO = "test_cards.py::TestAutoTopUp::"
BOOKS = "test_cards.py::TestReconcile::"
REFUNDS = "test_returns.py::TestRefunds::"
DISPUTES = "test_returns.py::TestDisputes::"
WARNINGS = "test_returns.py::TestWarnings::"
TAXES = "test_taxes.py::"

PROOFS: dict[str, tuple[str, ...]] = {
    "the body is verified as it came, byte by byte": (
        EVENTS + "test_what_was_changed_after_signing_is_refused",
        EVENTS + "test_what_was_written_anew_after_signing_is_refused",
        EVENTS + "test_what_is_not_signed_is_refused",
        EVENTS + "test_what_another_signed_is_refused",
        EVENTS + "test_signed_nonsense_is_refused",
    ),
    "a signature of long ago, or of the future": (
        EVENTS + "test_what_was_not_signed_just_now_is_refused",
    ),
    "an event is stored before it is answered": (
        EVENTS + "test_an_event_is_stored_before_it_is_answered_and_booked_later",
    ),
    "an event that nobody here knows what to do with": (
        EVENTS + "test_an_event_of_no_interest_is_kept_and_not_booked",
    ),
    "the same event twice, or the same fact in two events": (
        EVENTS + "test_the_same_event_again_changes_nothing",
        EVENTS + "test_a_replay_with_another_event_id_changes_nothing",
        SESSION + "test_pages_events_and_polling_together_credit_once",
    ),
    "many deliveries at once, by processes that crash": (
        AT_ONCE + "test_200_deliveries_with_crashes_book_each_payment_once",
        AT_ONCE + "test_a_crash_in_the_middle_of_booking_leaves_nothing_half",
    ),
    "events in the wrong order": (
        BOOK + "test_the_order_of_events_does_not_matter",
        BOOK + "test_a_dispute_told_before_its_payment_waits_for_it",
        REFUNDS + "test_a_state_that_is_told_late_moves_nothing_back",
    ),
    "an event that never comes": (
        POLLING + "test_a_payment_of_which_no_event_came_is_found",
        POLLING + "test_events_that_stripe_could_not_deliver_are_fetched",
        POLLING + "test_more_of_them_than_stripe_tells_at_once_are_fetched_too",
        BOOKS + "test_a_payment_that_nothing_told_of_is_found",
        BOOKS + "test_a_refund_and_a_dispute_that_nothing_told_of_are_found",
        BOOKS + "test_what_came_while_nobody_looked_is_looked_at",
    ),
    "an event that cannot be booked for long": (
        BOOK + "test_what_has_to_wait_is_told_to_operators_in_the_end",
    ),
    "money that nobody asked for": (
        INTENT + "test_money_that_nobody_asked_for_is_kept_in_suspense",
        BOOKS + "test_money_of_nobody_goes_to_suspense",
    ),
    "a page that is done and not paid yet": (
        SESSION + "test_a_method_that_takes_days_is_credited_when_it_arrives",
        SESSION + "test_a_method_that_fails_after_days_credits_nothing",
        SESSION + "test_a_page_that_is_not_paid_credits_nothing",
    ),
    "a payment after its page had expired": (
        SESSION + "test_money_that_came_after_the_page_expired_came_all_the_same",
        SESSION + "test_expiry_told_after_the_payment_changes_nothing",
    ),
    "refunds in parts, and several of them": (
        REFUNDS + "test_several_parts_and_never_more_than_the_payment",
        REFUNDS + "test_tax_goes_back_with_the_credit_to_the_last_nano_dollar",
    ),
    "a refund that fails, also days later": (
        REFUNDS + "test_one_that_fails_at_once_frees_the_money",
        REFUNDS + "test_one_that_fails_days_later_brings_the_money_back",
        TAXES + "TestRefunds::test_one_that_fails_later_brings_its_tax_back",
    ),
    "a refund of more than is left: refused here, a debt where operators make it at Stripe": (
        REFUNDS + "test_exactly_what_is_left_can_go_and_one_cent_more_cannot",
        REFUNDS + "test_one_made_at_stripe_is_taken_from_what_is_left",
    ),
    "a dispute after everything was spent": (
        DISPUTES + "test_what_is_left_is_taken_and_the_workspace_frozen",
        DISPUTES + "test_what_is_spent_is_owed_and_later_payments_pay_it_first",
        AUTO + "test_a_frozen_workspace_is_not_charged",
    ),
    "a dispute of another amount than the payment's": (
        DISPUTES + "test_a_part_of_a_payment_takes_that_part",
    ),
    "a dispute that moves no money, or none any more": (
        DISPUTES + "test_a_question_of_a_bank_takes_nothing",
        DISPUTES + "test_one_that_its_bank_took_back_gives_all_back",
    ),
    "a dispute that is won": (
        DISPUTES + "test_one_that_is_won_gives_all_back_and_unfreezes",
        DISPUTES + "test_of_two_the_second_keeps_the_workspace_frozen",
    ),
    "a dispute that is lost": (
        DISPUTES + "test_one_that_is_lost_stays_taken",
        DISPUTES + "test_after_one_that_is_lost_staff_decide_for_good",
    ),
    "a warning of fraud before the dispute": (
        WARNINGS + "test_a_warning_keeps_the_money_ready_and_the_dispute_takes_it",
        WARNINGS + "test_the_same_warning_again_takes_nothing_more",
        WARNINGS + "test_of_one_that_staff_accepted_the_dispute_takes_no_second_time",
    ),
    "another currency, amount, owner or mode than was asked for": (
        SESSION + "test_what_does_not_agree_is_kept_in_suspense",
        SESSION + "test_a_payment_of_somebody_elses_customer_is_not_credited",
        SESSION + "test_tax_that_nobody_asked_for_is_not_taken_for_credit",
    ),
    "a currency that has no cents": (
        SESSION + "test_a_currency_without_cents_is_never_taken_for_cents",
        INTENT + "test_money_that_nobody_asked_for_is_kept_in_suspense",
    ),
    "a test's event where money is real, and the other way round": (
        EVENTS + "test_a_tests_event_means_nothing_where_money_is_real",
        EVENTS + "test_an_event_of_the_other_mode_means_nothing",
    ),
    "a payment for a workspace that was closed": (
        SESSION + "test_what_comes_for_a_workspace_that_was_closed_waits_for_a_person",
    ),
    "what Stripe has and the ledger has not, or otherwise": (
        BOOKS + "test_what_went_at_stripe_and_not_here_is_told_until_it_agrees",
        BOOKS + "test_one_that_cannot_be_booked_keeps_no_other_from_being_compared",
    ),
    "a customer who was deleted at Stripe": (
        SESSION + "test_a_customer_deleted_at_stripe_takes_nothing_away",
    ),
    "a secret or a key that is replaced": (
        EVENTS + "test_either_secret_is_good_while_one_replaces_the_other",
        BOOK + "test_what_comes_while_a_key_is_replaced_is_booked_with_the_new_one",
    ),
    "Stripe did it and its answer was lost": (
        OPEN + "test_an_answer_that_was_lost_opens_no_second_page",
        CHARGE + "test_an_answer_that_was_lost_charges_once",
        CHARGE + "test_after_a_day_it_is_looked_for_and_not_charged_again",
        REFUNDS + "test_an_answer_that_was_lost_sends_no_second_refund",
        TAXES + "TestAssess::test_it_is_asked_once_however_often_the_charge_is_tried",
    ),
    "Stripe is away": (OPEN + "test_where_stripe_is_away_nothing_is_lost",),
    "a payout that comes back": (BOOKS + "test_fees_and_payouts_are_booked_once",),
}


@cache
def collected(path: str) -> frozenset[str]:
    """The tests that a file holds, by the rest of their ids."""
    return frozenset(
        f"{holder.name}::{test.name}"
        for holder in ast.parse((HERE / path).read_text()).body
        if isinstance(holder, ast.ClassDef)
        for test in holder.body
        if isinstance(test, ast.FunctionDef)
    )


class TestTheTable:
    @pytest.mark.parametrize("edge", PROOFS)
    def test_names_tests_that_are_there(self, edge: str) -> None:
        assert PROOFS[edge]
        for proof in PROOFS[edge]:
            path, _, test = proof.partition("::")
            assert test in collected(path), proof
