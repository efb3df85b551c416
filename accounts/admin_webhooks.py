"""
Webhooks in the admin site, without what signs them.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from django.contrib import admin

from accounts.adminrows import ReadOnly
from accounts.models import WebhookDelivery, WebhookEndpoint, WebhookEvent


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Where customers are told what happens; never what signs."""

    list_display = ("public_id", "workspace", "url", "disabled_at", "stopped", "failing_since")
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=workspace__public_id")
    exclude = ("sealed", "sealed_key_id", "old_sealed", "old_sealed_key_id")


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What happened and is told to webhooks."""

    list_display = ("public_id", "kind", "workspace", "created_at")
    list_filter = ("kind",)
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=workspace__public_id")
    show_full_result_count = False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """How each event came to each webhook."""

    list_display = ("public_id", "event", "endpoint", "status", "attempts", "code", "next_at")
    list_filter = ("status",)
    list_select_related = ("event", "endpoint")
    search_fields = ("=public_id", "=event__public_id", "=endpoint__public_id")
    show_full_result_count = False
