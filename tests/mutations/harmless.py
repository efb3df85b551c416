"""Mutants that change nothing anybody could see, each with the reason."""

from __future__ import annotations

from typing import Final

from tests.mutations.guards import Mutant

ONE_LOOK_MORE: Final = "asks for rows that are not there: a look more, the same answer"
FOUND_BELOW: Final = "what is not found here is found by billing_house_account, which asks again"
ZERO: Final = "adds nothing to rows that are locked already: counters move by zero"
NO_LEG: Final = "of no difference no leg is written"
OVERWRITTEN: Final = "each element is assigned before it is read"
# (file, the line with the mistake in it): why.
HARMLESS: Final[dict[tuple[str, str], str]] = {
    (
        "accounts.sql",
        "where workspace_id = workspace and kind <> 'paid' and asset = wanted_asset",
    ): "the granted account is opened together with the paid one",
    (
        "accounts.sql",
        "where workspace_id is not null and kind = wanted_kind and asset = wanted_asset;",
    ): "a customer's account has no kind of the house (CHECK); the insert then finds it",
    (
        "admit.sql",
        "where id = any(g_id) or g_pending[array_position(g_id, id)] > 0;",
    ): ZERO,
    (
        "admit.sql",
        "where id = any(g_id) and g_pending[array_position(g_id, id)] >= 0;",
    ): ZERO,
    ("funding.sql", ";"): "the row is deleted once either way; only the order of locks differs",
    (
        "post.sql",
        "where id = any(ids || homes) and coalesce(granted_id, 0) >= 0",
    ): "only the order of two locks differs; tests/billing/test_concurrency.py hunts deadlocks",
    ("revise.sql", "if difference >= 0 then"): NO_LEG,
    (
        "revise.sql",
        "select case when units >= 0 then 'usage.further.' else 'usage.refund.' end || leg,",
    ): NO_LEG,
    ("revise.sql", "case when units >= 0 then account else house end,"): NO_LEG,
    (
        "revise.sql",
        "case when units >= 0 then house else account end, was.asset, abs(units), now_",
    ): NO_LEG,
    ("settle.sql", "if coalesce(cardinality(h_id), 0) <= n then"): ONE_LOOK_MORE,
    ("settle.sql", "if coalesce(cardinality(d_id), 0) <= n then"): ONE_LOOK_MORE,
    (
        "settle.sql",
        "where workspace_id is not null and kind = any(array['revenue', 'uncollected_usage']);",
    ): FOUND_BELOW,
    (
        "settle.sql",
        "where workspace_id is null or kind = any(array['revenue', 'uncollected_usage']);",
    ): "more accounts are read, none of them by these names",
    (
        "settle.sql",
        "where workspace_id is null and kind <> all(array['revenue', 'uncollected_usage']);",
    ): FOUND_BELOW,
    ("settle.sql", "i_good := array_fill(true, array[n]);"): OVERWRITTEN,
    ("settle.sql", "a_touched := array_fill(true, array[a]);"): ZERO,
    ("settle.sql", "m_touched := array_fill(true, array[m]);"): ZERO,
    ("settle.sql", "where id = any(a_id) or a_touched[array_position(a_id, id)];"): ZERO,
    (
        "settle.sql",
        "or g_debit[array_position(g_id, id)] + g_release[array_position(g_id, id)] > 0;",
    ): ZERO,
    (
        "settle.sql",
        "and g_debit[array_position(g_id, id)] + g_release[array_position(g_id, id)] >= 0;",
    ): ZERO,
    (
        "settle.sql",
        "where key_id = any(m_id) or m_touched[array_position(m_id, key_id)];",
    ): ZERO,
    (
        "conversion.sql",
        "least(amount, numerator, denominator) >= 0 and spread_ppm between 0 and 999999",
    ): "of nothing follows nothing: billing_conversion_follows refuses it as well",
}


def reason(mutant: Mutant) -> str | None:
    """Return why a mutant need not be killed, None if it has to be."""
    return HARMLESS.get((mutant.file, mutant.change))
