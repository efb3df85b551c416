"""Money in the admin site: everything can be seen; only packages of tokens are edited."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from billing import admin_customers, admin_earnings, admin_funding, incidents
from billing.adminrows import ReadOnlyAdmin, RowAdmin
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
    StaffStep,
    TokenPackage,
    Transfer,
    Usage,
)
from common import money

# Django looks for modules of this name only: it brings the others along.
__all__ = ["admin_customers", "admin_funding"]


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Balances, windows and caps."""

    list_display = (
        "id", "workspace", "kind", "asset", "credits_posted", "debits_posted",
        "debits_pending", "day_used", "day_cap", "month_used", "month_cap", "frozen",
    )  # fmt: skip
    list_filter = ("asset", "kind", "frozen")
    list_select_related = ("workspace",)
    search_fields = ("=workspace__public_id", "workspace__name")


@admin.register(KeyMeter)
class KeyMeterAdmin(ReadOnlyAdmin):
    """What keys have used."""

    list_display = (
        "key", "day", "day_used", "day_cap", "month_used", "month_cap", "held", "last_used_at",
    )  # fmt: skip
    list_select_related = ("key",)
    search_fields = ("=key__public_id",)


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    """Grants and what is left of them."""

    list_display = (
        "id", "account", "amount", "consumed", "expired", "expires_at", "reason", "created_at",
        "created_by",
    )  # fmt: skip
    list_select_related = ("account", "created_by")


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """Calls in flight."""

    list_display = (
        "id", "workspace_id", "key_id", "asset", "amount", "model", "process_id",
        "created_at", "expires_at",
    )  # fmt: skip
    search_fields = ("=id",)


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    """The ledger itself."""

    list_display = ("id", "at", "kind", "source", "debit", "credit", "asset", "amount", "reason")
    list_select_related = ("debit", "credit")
    search_fields = ("=source", "=reference")


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    """Price versions; the catalogue adds new ones."""

    list_display = (
        "id", "subject", "role", "effective_from", "prompt", "completion", "per_call",
    )  # fmt: skip
    list_filter = ("role",)
    search_fields = ("subject",)


class Quarantine(admin.SimpleListFilter):
    """Calls whose provider told a usage that contradicts itself; the charge is an estimate."""

    title = "quarantine"
    parameter_name = "quarantine"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Usage]
    ) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [(CONTRADICTION, "Usage contradicts itself")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Usage]) -> QuerySet[Usage]:
        """Return the calls so marked; an index of its own has them."""
        return queryset.filter(reason=CONTRADICTION) if self.value() else queryset


class Uncollected(admin.SimpleListFilter):
    """Calls that were served and that nobody paid for in full: our loss."""

    title = "uncollected"
    parameter_name = "uncollected"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Usage]
    ) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("yes", "Not paid in full")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Usage]) -> QuerySet[Usage]:
        """Return those calls; an index of its own has them."""
        return queryset.filter(uncollected__gt=0) if self.value() else queryset


@admin.register(Usage)
class UsageAdmin(ReadOnlyAdmin):
    """Closed calls; `unknown` and `quarantine` list those that staff has to look into."""

    list_display = (
        "id", "closed_at", "workspace_id", "key_id", "model", "served", "provider", "state",
        "source", "unknown", "asset", "charged", "uncollected", "status",
        "reason",
    )  # fmt: skip
    list_filter = ("state", "source", "unknown", Quarantine, Uncollected)
    search_fields = ("=id",)
    date_hierarchy = "day"
    change_list_template = "admin/billing/usage_list.html"

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


@admin.register(Conversion)
class ConversionAdmin(ReadOnlyAdmin):
    """Exchanges, among them purchases of tokens."""

    list_display = (
        "source", "at", "debit", "credit", "amount", "gross", "spread", "rate_source", "rate_at",
    )  # fmt: skip
    list_select_related = ("debit", "credit")
    search_fields = ("=source", "=rate_source")


@admin.register(TokenPackage)
class TokenPackageAdmin(RowAdmin):
    """What tokens cost; past purchases keep their own terms."""

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
    list_select_related = ("account",)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What customers and operators were told; without a workspace it is an incident of ours."""

    list_display = (
        "created_at", "kind", "subject", "window", "level", "workspace", "sent_at", "closed_at",
    )  # fmt: skip
    list_filter = ("kind", ("workspace", admin.EmptyFieldListFilter), "closed_at")
    list_select_related = ("workspace",)
    actions = ("end",)

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Ending an incident is the one change there is."""
        user = request.user
        return bool(user.is_active and user.has_perm("billing.change_alert"))

    @admin.action(description="Dealt with: end refused settlements", permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        """End those that nothing but a person can end; all others end by themselves."""
        for alert in queryset.filter(kind=Alert.Kind.SETTLEMENT_REFUSED, closed_at=None):
            incidents.end(kind=alert.kind, subject=alert.subject)
            self.log_change(request, alert, "Ended")


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
