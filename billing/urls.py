"""Pages about money. The Overview of proxy shows balance and caps as well."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from billing import views_billing, views_crypto, views_limits, views_stripe

urlpatterns: list[URLPattern | URLResolver] = [
    path("webhooks/stripe", views_stripe.webhook, name="stripe_webhook"),
    path("top-ups/<str:public_id>", views_billing.pay, name="top_up_pay"),
    path("dashboard/billing", views_billing.billing, name="billing"),
    path("dashboard/billing/top-ups", views_billing.top_up, name="top_up_new"),
    path("dashboard/billing/top-ups/<str:public_id>", views_billing.show, name="top_up"),
    path("dashboard/billing/auto", views_billing.set_auto, name="auto_top_up"),
    path("dashboard/billing/cards", views_billing.save_card, name="card_save"),
    path("dashboard/billing/portal", views_billing.portal, name="billing_portal"),
    path(
        "dashboard/billing/cards/<str:public_id>/remove",
        views_billing.forget_card,
        name="card_remove",
    ),
    path("dashboard/billing/crypto", views_crypto.section, name="crypto_live"),
    path("dashboard/billing/crypto/pay", views_crypto.pay_panel, name="crypto_pay"),
    path("dashboard/billing/crypto/address", views_crypto.give_address, name="crypto_address"),
    path(
        "dashboard/billing/crypto/conversion", views_crypto.set_conversion, name="crypto_conversion"
    ),
    path("dashboard/billing/crypto/convert", views_crypto.convert, name="crypto_convert"),
    path("dashboard/limits", views_limits.limits_page, name="limits"),
    path("dashboard/limits/workspace", views_limits.set_workspace_caps, name="limits_workspace"),
    path("dashboard/limits/keys/<str:public_id>", views_limits.set_key_caps, name="limits_key"),
    path("dashboard/limits/alerts", views_limits.set_alerts, name="limits_alerts"),
]
