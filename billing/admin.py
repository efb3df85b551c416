"""Money in the admin site: everything can be seen; only packages of tokens are edited."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from accounts import audit
from accounts.models import AuditEvent
from billing import (
    admin_customers,
    admin_earnings,
    admin_funding,
    admin_suspense,
    admin_tiers,
    incidents,
)
from billing.adminforms import ReasonedAdmin
from billing.adminrows import CALL_UNITS, OneChoice, ReadOnlyAdmin, amount, call, customer
from billing.adminsteps import Step, SteppedAdmin, Taken
from billing.models import (
    CONTRADICTION,
    Account,
    Alert,
    AlertPreference,
    Conversion,
    Hold,
    KeyMeter,
    LedgerCheckpoint,
    Lot,
    Price,
    Revision,
    StaffStep,
    TokenPackage,
    Transfer,
    Usage,
)
from common import ids, money

REVIEWED: Final = "call.reviewed"
OF_A_MILLION: Final = "picos_per_token"
# All other incidents end by themselves when what they tell of is over.
ENDED_BY_HAND: Final = (Alert.Kind.SETTLEMENT_REFUSED, Alert.Kind.PAYMENT_UNMATCHED)
# Django looks for modules of this name only: it brings the others along.
__all__ = ["admin_customers", "admin_funding", "admin_suspense", "admin_tiers"]


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Balances, windows and caps."""

    list_display = (
        "id", "workspace", "kind", amount("credits_posted", "In"), amount("debits_posted", "Out"),
        amount("debits_pending", "Held"), amount("day_used", "Today", unit="nanos"),
        amount("day_cap", "Of", unit="nanos"), amount("month_used", "Month", unit="nanos"),
        amount("month_cap", "Of", unit="nanos"), "frozen",
    )  # fmt: skip
    units = {"floor": "asset", "held": "nanos"}
    list_filter = ("asset", "kind", "frozen")
    list_select_related = ("workspace",)
    search_fields = ("=workspace__public_id", "workspace__name")


@admin.register(KeyMeter)
class KeyMeterAdmin(ReadOnlyAdmin):
    """What keys have used."""

    list_display = (
        "key", "day", amount("day_used", "Today", unit="nanos"),
        amount("day_cap", "Of", unit="nanos"), amount("month_used", "Month", unit="nanos"),
        amount("month_cap", "Of", unit="nanos"), amount("held", "Held", unit="nanos"),
        "last_used_at",
    )  # fmt: skip
    units = {"spent": "nanos"}
    list_select_related = ("key",)
    search_fields = ("=key__public_id",)


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    """Grants and what is left of them."""

    list_display = (
        "id", "account", amount("amount", "Given", unit="account__asset"),
        amount("consumed", "Used", unit="account__asset"),
        amount("expired", "Expired", unit="account__asset"), "expires_at", "reason", "created_at",
        "created_by",
    )  # fmt: skip
    list_select_related = ("account", "created_by")


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """Calls in flight."""

    list_display = (
        call(), customer, "key_id", amount("amount", "Amount"), "model", "process_id",
        "created_at", "expires_at",
    )  # fmt: skip
    units = {"granted": "asset"}
    search_fields = ("=id",)


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    """The ledger itself."""

    list_display = (
        "id", "at", "kind", "source", "debit", "credit", amount("amount", "Amount"), "reason",
    )  # fmt: skip
    list_select_related = ("debit", "credit")
    search_fields = ("=source", "=reference")


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    """Price versions; the catalogue adds new ones."""

    list_display = (
        "id", "subject", "role", "effective_from", "prompt", "completion", "per_call",
    )  # fmt: skip
    units = {
        **dict.fromkeys(("prompt", "completion", "cached_prompt", "cache_write"), OF_A_MILLION),
        **dict.fromkeys(("per_call", "web_search"), "picos"),
    }
    list_filter = ("role",)
    search_fields = ("subject",)


class Quarantine(OneChoice):
    """Calls whose provider told a usage that contradicts itself; the charge is an estimate."""

    title = "quarantine"
    parameter_name = "quarantine"
    choice = (CONTRADICTION, "Usage contradicts itself")
    # An index of its own has them.
    wanted = Q(reason=CONTRADICTION)


def _review(taken: Taken) -> str:
    usage: Usage = taken.row
    audit.record(
        action=REVIEWED,
        by=taken.by,
        target=audit.Target(str(usage.pk), usage.model),
        workspaces=[None],
        after={"charged": str(usage.charged), "asset": usage.asset, "reason": taken.reason},
    )
    return "Noted."


def _no_review(usage: Any) -> str:
    if usage.reason != CONTRADICTION:
        return "Only quarantined calls are reviewed."
    return "It was reviewed." if getattr(usage, "seen", False) else ""


REVIEW = Step(
    name="review",
    title="Reviewed",
    text="Say what came of it. The charge stays: give money back as a grant or a correction.",
    permission="accounts.resolve_calls",
    run=_review,
    refusal=_no_review,
)


class Uncollected(OneChoice):
    """Calls that were served and that nobody paid for in full: our loss."""

    title = "uncollected"
    parameter_name = "uncollected"
    choice = ("yes", "Not paid in full")
    # An index of its own has them.
    wanted = Q(uncollected__gt=0)


@admin.register(Usage)
class UsageAdmin(SteppedAdmin):
    """Closed calls; `unknown` and `quarantine` list those that staff has to look into."""

    steps = (REVIEW,)
    list_display = (
        call(), "closed_at", customer, "key_id", "model", "served", "provider", "state",
        "source", "unknown", amount("charged", "Charged"), amount("uncollected", "Uncollected"),
        "status", "reason", "reviewed",
    )  # fmt: skip
    units = CALL_UNITS
    list_filter = ("state", "source", "unknown", Quarantine, Uncollected)
    search_fields = ("=id",)
    change_list_template = "admin/billing/usage_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        """Return calls, with whether staff has looked into them."""
        seen = AuditEvent.objects.filter(target=Cast(OuterRef("id"), TextField()), action=REVIEWED)
        return Usage.objects.annotate(seen=Exists(seen))

    @admin.display(description="Reviewed", boolean=True)
    def reviewed(self, usage: Any) -> bool | None:
        """Whether staff has looked into a quarantined call; nothing for others."""
        return bool(usage.seen) if usage.reason == CONTRADICTION else None

    def get_urls(self) -> list[URLPattern]:
        """Add the dashboard of the house."""
        view = self.admin_site.admin_view(self.earnings_view)
        return [path("earnings/", view, name="billing_usage_earnings"), *super().get_urls()]

    def earnings_view(self, request: HttpRequest) -> HttpResponse:
        """Show what the house earns."""
        return admin_earnings.view(
            request,
            site=self.admin_site,
            opts=self.opts,
            allowed=self.has_view_permission(request),
        )


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin):
    """Calls that were charged on a guess until their evidence came: both prices."""

    list_display = (
        "request_id", "at", "workspace", "old_state", "old_source",
        amount("old_charged", "Charged at first"), "source", amount("charged", "Charged"),
        amount("uncollected", "Uncollected"),
    )  # fmt: skip
    units = {
        **dict.fromkeys(("old_granted", "old_uncollected", "granted"), "asset"),
        **dict.fromkeys(("old_cost", "cost"), "nanos"),
    }
    list_select_related = ("workspace",)
    search_fields = ("=id", "=workspace__public_id")

    @admin.display(description="Request")
    def request_id(self, revision: Revision) -> str:
        """The id as the caller was told it."""
        return ids.form("req_", revision.pk)


@admin.register(Conversion)
class ConversionAdmin(ReadOnlyAdmin):
    """Exchanges, among them purchases of tokens."""

    list_display = (
        "source", "at", "debit", "credit", "amount", "gross", "spread", "rate_source", "rate_at",
    )  # fmt: skip
    units = {
        "amount": "debit__asset", **dict.fromkeys(("gross", "spread"), "credit__asset"),
    }  # fmt: skip
    list_select_related = ("debit", "credit")
    search_fields = ("=source", "=rate_source")


@admin.register(TokenPackage)
class TokenPackageAdmin(ReasonedAdmin):
    """What tokens cost; past purchases keep their own terms."""

    noun = "package"
    form = admin_tiers.PackageForm
    list_display = (
        "slug", "name", "tokens", "bonus_tokens", "bonus_days", "price_usd", "enabled",
    )  # fmt: skip
    prepopulated_fields = {"slug": ("name",)}

    @admin.display(description="price in USD", ordering="price_nanos")
    def price_usd(self, package: TokenPackage) -> str:
        """Return the price in US dollars."""
        return money.usd(package.price_nanos)


@admin.register(LedgerCheckpoint)
class LedgerCheckpointAdmin(ReadOnlyAdmin):
    """Where a replay may start."""

    list_display = ("account", "through", "debits", "credits", "created_at")
    units = dict.fromkeys(("debits", "credits"), "account__asset")
    list_select_related = ("account",)


def _end(taken: Taken) -> str:
    alert: Alert = taken.row
    incidents.end(kind=alert.kind, subject=alert.subject)
    audit.record(
        action="alert.ended",
        by=taken.by,
        target=audit.Target(f"alert {alert.pk}", str(alert)),
        workspaces=[None],
        before={"kind": alert.kind, "subject": alert.subject, "open": True, "reason": None},
        after={"kind": alert.kind, "subject": alert.subject, "open": False, "reason": taken.reason},
    )
    return "Over."


def _no_end(alert: Alert) -> str:
    if alert.closed_at is not None:
        return "It is over."
    by_hand = alert.workspace_id is None and alert.kind in ENDED_BY_HAND
    return "" if by_hand else "It ends by itself when what it tells of is over."


END = Step(
    name="end",
    title="Dealt with",
    text="End an incident that nothing but a person can end.",
    permission="billing.change_alert",
    run=_end,
    refusal=_no_end,
)


@admin.register(Alert)
class AlertAdmin(SteppedAdmin):
    """What customers and operators were told; without a workspace it is an incident of ours."""

    steps = (END,)
    list_display = (
        "created_at", "kind", "subject", "window", "level", "workspace", "sent_at", "closed_at",
    )  # fmt: skip
    list_filter = ("kind", ("workspace", admin.EmptyFieldListFilter), "closed_at")
    list_select_related = ("workspace",)


@admin.register(AlertPreference)
class AlertPreferenceAdmin(ReadOnlyAdmin):
    """Below which balance workspaces want to be told."""

    list_display = ("workspace", "low_balance_nanos")
    list_select_related = ("workspace",)


@admin.register(StaffStep)
class StaffStepAdmin(ReadOnlyAdmin):
    """What staff have sent; what came of it is in the audit log."""

    list_display = ("at", "step", "target", "created_by")
    list_select_related = ("created_by",)
    search_fields = ("=target",)
