"""What goes wrong with deposits on chains, case by case, and the tests that prove each."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from coincurve import PrivateKey
from django.utils import timezone

from accounts.models import Workspace
from billing.chains import addresses, config, deposits, sweepplan, watcher
from billing.models import Deposit, Outflow, UnlistedToken
from tests.billing.chains import counter
from tests.billing.chains.counter import PAYER, TREASURY, USDC, Counter
from tests.fakes import wallet
from tests.fakes.evm import Event

ROOT = Path(__file__).resolve().parents[3]
HERE = "tests/billing/chains/"
WATCH = HERE + "test_watcher.py::TestWatch::"
EDGES = HERE + "test_edges.py::"
ANVIL = "tests/peers/chains/test_deposits.py::TestDeposits::"
ISSUER = "tests/peers/chains/test_edges.py::TestTheIssuer::"
CHAIN = "tests/peers/chains/test_edges.py::TestTheChain::"
SANCTIONS = "tests/peers/chains/test_edges.py::TestSanctions::"
SCREENING = HERE + "test_screening.py::"
NATIVE = HERE + "test_native.py::TestScan::"
UNLISTED = HERE + "test_unlisted.py::"
STAFF = "tests/staff/test_pages_deposits.py::"
RECONCILE = HERE + "test_reconciliation.py::TestReconcile::"

PROOFS: dict[str, tuple[str, ...]] = {
    "a fake token of the same name": (
        WATCH + "test_a_token_with_the_same_symbol_is_noted_and_not_credited",
        ANVIL + "test_a_token_of_the_same_name_and_a_lie_are_not_money",
    ),
    "a contract that only says that money moved": (
        ANVIL + "test_a_token_of_the_same_name_and_a_lie_are_not_money",
    ),
    "a transfer of nothing": (
        WATCH + "test_a_transaction_that_failed_and_a_transfer_of_nothing_credit_nothing",
        ANVIL + "test_several_transfers_of_one_transaction_are_each_booked",
    ),
    "several transfers in one transaction": (
        WATCH + "test_each_of_several_transfers_in_one_transaction_is_booked",
        ANVIL + "test_several_transfers_of_one_transaction_are_each_booked",
    ),
    "a token that keeps a fee": (
        WATCH + "test_a_token_that_keeps_a_fee_is_credited_as_it_arrived",
        ANVIL + "test_all_kinds_of_money_arrive_and_become_dollars",
    ),
    "a transaction that reverted": (
        WATCH + "test_a_transaction_that_failed_and_a_transfer_of_nothing_credit_nothing",
        ANVIL + "test_what_reverted_is_not_money",
    ),
    "a reorganisation drops, moves or replaces deposits": (
        WATCH + "test_a_deposit_that_a_reorganisation_drops_moves_or_replaces",
        ANVIL + "test_a_reorganisation_of_three_blocks_drops_moves_and_replaces",
    ),
    "money spent twice by the same nonce": (CHAIN + "test_spent_twice_what_replaced_it_counts",),
    "a question about an orphaned block": (
        CHAIN + "test_no_question_names_a_block_by_a_hash_that_may_be_orphaned",
        EDGES + "TestAReceiptThatIsGone::test_nothing_is_booked_until_it_is_there",
    ),
    "a token of value that is on no list, or a bridged one": (
        UNLISTED + "TestResolve::test_once_listed_all_that_came_before_is_credited_each_once",
        STAFF + "TestUnlistedTokens::test_one_is_resolved_once",
    ),
    "a coin that was taken off the list": (
        UNLISTED + "TestACoinThatIsTakenOffTheList"
        "::test_what_came_before_stays_and_waits_what_comes_is_noted",
    ),
    "the right token on a chain that is not configured": (
        EDGES + "TestAChainThatIsNotConfigured"
        "::test_the_owner_of_the_wallet_has_the_key_of_the_address",
    ),
    "a payment straight to the treasury": (
        EDGES + "TestTheTreasury::test_what_it_gets_from_others_is_nobodys_deposit",
    ),
    "a frozen workspace": (WATCH + "test_a_frozen_workspace_is_credited_all_the_same",),
    "a closed workspace": (
        EDGES + "TestAClosedWorkspace::test_what_comes_waits_for_a_person_and_is_not_lost",
    ),
    "a sender on a list of sanctions": (
        SCREENING + "TestDoubt::test_money_from_a_listed_address_is_never_credited",
        SCREENING + "TestNative::test_ether_from_a_listed_address_is_never_credited",
        SANCTIONS + "test_what_a_listed_address_sends_is_held_and_listed_for_staff",
        STAFF + "TestDeposits::test_of_a_listed_sender_only_rejection_is_offered",
    ),
    "a list of sanctions that gives no answer": (
        SCREENING + "TestDoubt::test_a_list_that_gives_no_answer_clears_nobody",
        SANCTIONS + "test_a_contract_that_is_no_list_clears_nobody",
    ),
    "a paused token": (ISSUER + "test_a_paused_token_moves_nothing_and_loses_nothing",),
    "an address of ours that the issuer blacklists": (
        ISSUER + "test_an_address_of_ours_is_blacklisted_and_then_emptied",
        RECONCILE + "test_tokens_that_a_contract_took_without_a_transfer_are_told",
    ),
    "a proxy whose next contract has other decimals": (
        ISSUER + "test_a_proxy_that_counts_in_other_units_stops_the_chain",
        WATCH + "test_a_token_with_other_decimals_than_configured_is_refused",
    ),
    "an endpoint of another chain, from the start or later": (
        WATCH + "test_an_endpoint_of_another_chain_is_refused",
        CHAIN + "test_another_chain_behind_an_endpoint_is_noticed_at_once",
        CHAIN + "test_a_chain_that_began_anew_under_the_same_id_is_not_believed",
    ),
    "endpoints that are away for days": (
        CHAIN + "test_an_endpoint_that_was_away_for_days_leaves_no_gap_and_books_nothing_twice",
        HERE + "test_reconciliation.py::TestReportSilence"
        "::test_a_chain_that_answers_no_more_is_told",
    ),
    "more than 300 blocks behind": (
        WATCH + "test_a_chain_far_behind_is_read_in_ranges_that_the_endpoint_allows",
        CHAIN + "test_an_endpoint_that_was_away_for_days_leaves_no_gap_and_books_nothing_twice",
    ),
    "an endpoint that lags": (
        WATCH + "test_an_endpoint_without_the_newest_blocks_hides_nothing",
        ANVIL + "test_endpoints_that_lag_lie_or_refuse_only_delay",
    ),
    "an endpoint that lies": (
        WATCH + "test_an_endpoint_that_tells_no_logs_is_not_believed",
        WATCH + "test_an_endpoint_of_another_fork_is_not_believed",
        WATCH + "test_a_second_look_finds_what_both_endpoints_had_hidden",
        ANVIL + "test_endpoints_that_lag_lie_or_refuse_only_delay",
    ),
    "dust": (
        WATCH + "test_amounts_below_the_minimum_wait_for_each_other",
        NATIVE + "test_dust_waits",
        EDGES + "TestAFloodOfTokens::test_what_is_noted_has_a_bound_and_real_money_comes_through",
    ),
    "addresses that look alike": (
        HERE + "test_pages.py::TestSection::test_the_sender_is_never_shown",
    ),
    "refunds are made by hand, elsewhere": (
        HERE + "test_custody.py::TestTheServer::test_it_has_nothing_that_could_sign",
        STAFF + "TestDeposits::test_rejected_it_is_never_credited",
    ),
    "ether that a contract sends, also its last": (
        NATIVE + "test_what_a_contract_sends_without_a_log_is_credited_in_billionths",
        ANVIL + "test_ether_through_a_contract_arrives",
        "tests/peers/chains/test_edges.py::TestEther"
        "::test_a_contract_that_destroys_itself_leaves_its_ether",
    ),
    "parts of an ether below the ledger's unit": (
        NATIVE + "test_what_is_below_a_billionth_counts_with_the_next",
        HERE + "test_reconciliation.py::TestSweepPlan"
        "::test_what_is_below_a_billionth_of_an_ether_is_listed",
        RECONCILE + "test_units_that_do_not_follow_from_what_arrived_are_told",
    ),
}


@cache
def names(path: str) -> frozenset[str]:
    """Every test of a file, as pytest names it without its parameters."""
    found = set()
    for item in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(item, ast.ClassDef):
            found |= {
                f"{item.name}::{test.name}"
                for test in item.body
                if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
            }
    return frozenset(found)


class TestProofs:
    @pytest.mark.parametrize("case", PROOFS)
    def test_each_case_has_tests_that_exist(self, case: str) -> None:
        missing = [
            proof
            for proof in PROOFS[case]
            if proof.partition("::")[2] not in names(proof.partition("::")[0])
        ]
        assert PROOFS[case]
        assert missing == []


class TestAClosedWorkspace:
    def test_what_comes_waits_for_a_person_and_is_not_lost(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        Workspace.objects.filter(pk=address.workspace_id).update(closed_at=timezone.now())
        shop.chain.mine(shop.pay(address, 7_000_000))
        shop.chain.finalise()
        shop.look()
        held = Deposit.objects.get(amount=7_000_000)
        assert (held.state, held.doubt, shop.credited(address)) == (
            "suspended",
            "closed",
            5_000_000,
        )
        assert counter.incidents() == [f"deposit:{held.public_id}"]
        deposits.release(deposit=held, token=config.tokens()[held.asset])
        assert shop.credited(address) == 12_000_000
        assert counter.books_balance()


class TestTheTreasury:
    def test_what_it_gets_from_others_is_nobodys_deposit(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.chain.tx(Event(USDC, PAYER, TREASURY, 5_000_000)))
        shop.chain.finalise()
        assert shop.look() == watcher.Look(through=shop.chain.final)
        assert not Deposit.objects.exists()
        assert not Outflow.objects.exists()
        assert shop.credited(address) == 0


class TestAChainThatIsNotConfigured:
    def test_the_owner_of_the_wallet_has_the_key_of_the_address(self, shop: Counter) -> None:
        shop.customer()
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        # The path that the sweep plan names is the same on every chain.
        [line] = sweepplan.plan()
        *_, side, index = line.path.split("/")
        secret = wallet.account().child(int(side)).child(int(index)).secret
        point = PrivateKey(secret).public_key.format(compressed=False)
        assert addresses.of_public_key(point) == address.address


class TestAFloodOfTokens:
    def test_what_is_noted_has_a_bound_and_real_money_comes_through(self, shop: Counter) -> None:
        address = shop.customer()
        spam = [
            shop.chain.tx(Event(f"0x{number:040x}", PAYER, address.address, 10**30))
            for number in range(1, 151)
        ]
        shop.chain.mine(*spam, shop.pay(address, 5_000_000))
        shop.chain.finalise()
        assert shop.look().new == 1
        assert UnlistedToken.objects.count() == watcher.MOST_UNLISTED
        assert shop.credited(address) == 5_000_000


class TestAReceiptThatIsGone:
    def test_nothing_is_booked_until_it_is_there(self, shop: Counter) -> None:
        address = shop.customer()
        paid = shop.pay(address, 5_000_000)
        shop.chain.mine(paid)
        shop.chain.finalise()
        shop.chain.lost.add(paid.hash)
        assert "lacks the receipt" in shop.look().trouble
        assert not Deposit.objects.exists()
        shop.chain.lost.clear()
        assert shop.look().new == 1
        assert shop.credited(address) == 5_000_000
