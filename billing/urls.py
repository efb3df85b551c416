"""Pages about money. The Overview of proxy shows balance and caps as well."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from billing import views_crypto, views_limits

urlpatterns: list[URLPattern | URLResolver] = [
    path("dashboard/billing/crypto", views_crypto.section, name="crypto_live"),
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
