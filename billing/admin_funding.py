"""Payments in the admin site: to be seen; refunds, claims and suspense are decided by steps."""

from __future__ import annotations

from django.contrib import admin

from billing import admin_deposits
from billing.admin_claims import ACCEPT, ASK_AGAIN, REFUND, RELEASE
from billing.adminrows import ReadOnlyAdmin, amount
from billing.adminsteps import SteppedAdmin
from billing.models import (
    AutoTopUp,
    ChainCursor,
    Claim,
    Deposit,
    DepositAddress,
    ExtendedKey,
    FundHold,
    NativeBalance,
    Outflow,
    Quote,
    Refund,
    SavedCard,
    Sighting,
    StripeCustomer,
    StripeEntry,
    StripeEvent,
    TopUp,
    UnlistedToken,
)


@admin.register(TopUp)
class TopUpAdmin(SteppedAdmin):
    """What customers pay in by card."""

    steps = (REFUND,)
    list_display = (
        "public_id", "workspace", "method", "status",
        amount("amount_cents", "Credit", unit="cents"), amount("tax_cents", "Tax", unit="cents"),
        "created_at", "paid_at",
    )  # fmt: skip
    list_filter = ("status", "method")
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=intent_id", "=session_id", "=workspace__public_id")


@admin.register(SavedCard)
class SavedCardAdmin(ReadOnlyAdmin):
    """Cards that the processor keeps; here is only what names them."""

    list_display = ("public_id", "workspace", "brand", "last4", "exp_month", "exp_year")
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=fingerprint", "=workspace__public_id")


@admin.register(AutoTopUp)
class AutoTopUpAdmin(ReadOnlyAdmin):
    """Who has agreed to be charged when the balance is low."""

    list_display = (
        "workspace", "enabled", amount("threshold_nanos", "Below", unit="nanos"),
        amount("amount_cents", "Pays", unit="cents"),
        amount("monthly_limit_cents", "A month at most", unit="cents"), "failures",
        "stopped_because",
    )  # fmt: skip
    list_filter = ("enabled",)
    list_select_related = ("workspace",)


@admin.register(Refund)
class RefundAdmin(SteppedAdmin):
    """What was paid back."""

    steps = (ASK_AGAIN,)
    list_display = (
        "public_id", "top_up", amount("amount_cents", "Paid back", unit="cents"),
        amount("credit_nanos", "Credit", unit="nanos"), "status", "failure", "reason",
        "created_by", "created_at",
    )  # fmt: skip
    list_filter = ("status",)
    list_select_related = ("top_up", "created_by")
    search_fields = ("=public_id", "=external_id", "=top_up__public_id")


@admin.register(FundHold)
class FundHoldAdmin(ReadOnlyAdmin):
    """What is held for refunds under way."""

    list_display = (
        "source", "account", amount("amount", "Amount", unit="account__asset"), "created_at",
    )  # fmt: skip
    list_select_related = ("account",)


@admin.register(Claim)
class ClaimAdmin(SteppedAdmin):
    """Disputes and warnings of fraud: what was taken back, what is still owed."""

    steps = (RELEASE, ACCEPT)
    list_display = (
        "external_id", "kind", "status", "workspace",
        amount("amount_nanos", "Amount", unit="nanos"), amount("taken", "Taken", unit="nanos"),
        amount("owed", "Owed", unit="nanos"), amount("repaid", "Repaid", unit="nanos"), "froze",
        "created_at",
    )  # fmt: skip
    list_filter = ("kind", "status")
    list_select_related = ("workspace",)
    search_fields = ("=external_id", "=workspace__public_id")


@admin.register(StripeCustomer)
class StripeCustomerAdmin(ReadOnlyAdmin):
    """Which customer at Stripe is whose."""

    list_display = ("customer_id", "workspace", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("=customer_id", "=workspace__public_id")


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    """What Stripe told, and what became of it."""

    list_display = ("id", "kind", "object_id", "outcome", "attempts", "failure", "received_at")
    list_filter = ("outcome", "livemode")
    search_fields = ("=id", "=object_id")


@admin.register(StripeEntry)
class StripeEntryAdmin(ReadOnlyAdmin):
    """Stripe's own books, beside ours."""

    list_display = ("id", "kind", "amount_cents", "fee_cents", "currency", "at", "matched")
    units = dict.fromkeys(("amount_cents", "fee_cents"), "currency")
    list_filter = ("matched", "kind")
    search_fields = ("=id", "=source_id")


@admin.register(ChainCursor)
class ChainCursorAdmin(ReadOnlyAdmin):
    """How far each chain is booked."""

    list_display = ("chain_id", "number", "head", "scanned_at", "rescanned_at")


@admin.register(DepositAddress)
class DepositAddressAdmin(ReadOnlyAdmin):
    """Whose address is whose."""

    list_display = ("address", "workspace", "index", "keep", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("=address", "=workspace__public_id")


@admin.register(Deposit)
class DepositAdmin(SteppedAdmin):
    """What arrived on chains; what is suspended waits for a person."""

    steps = (admin_deposits.RELEASE, admin_deposits.REJECT)
    list_display = (
        "public_id", "address", "asset", "amount", "units", "state", "doubt", "block_number",
        "found_at",
    )  # fmt: skip
    list_filter = ("state", "doubt", "asset")
    list_select_related = ("address",)
    search_fields = ("=public_id", "=tx_hash", "=address__address")


@admin.register(Outflow)
class OutflowAdmin(ReadOnlyAdmin):
    """What left our addresses."""

    list_display = ("address", "asset", "amount", "recipient", "block_number", "found_at")
    list_filter = ("asset",)
    list_select_related = ("address",)
    search_fields = ("=tx_hash", "=address__address")


@admin.register(UnlistedToken)
class UnlistedTokenAdmin(SteppedAdmin):
    """Tokens on no list that say they arrived: worthless, or a customer's mistake."""

    steps = (admin_deposits.RESOLVE,)
    list_display = (
        "chain_id", "contract", "address", "amount", "transfers", "tx_hash", "found_at",
        "resolution", "resolved_at",
    )  # fmt: skip
    list_filter = ("resolution", "chain_id")
    list_select_related = ("address",)
    search_fields = ("=contract", "=address__address")


@admin.register(ExtendedKey)
class ExtendedKeyAdmin(ReadOnlyAdmin):
    """Which keys addresses came from; the keys themselves are shown nowhere."""

    list_display = ("id", "path", "next_index", "created_at", "retired_at")
    fields = ("path", "next_index", "created_at", "retired_at")


@admin.register(Sighting)
class SightingAdmin(ReadOnlyAdmin):
    """What is not final."""

    list_display = ("address", "asset", "amount", "confirmations", "expected_at")
    list_select_related = ("address",)


@admin.register(NativeBalance)
class NativeBalanceAdmin(ReadOnlyAdmin):
    """What addresses had when they were last looked at."""

    list_display = ("address", "chain_id", "block_number", "balance", "nonce")
    list_select_related = ("address",)


@admin.register(Quote)
class QuoteAdmin(ReadOnlyAdmin):
    """What coins are worth."""

    list_display = ("symbol", "price", "source", "at")
