"""Pages about requests, keys and models. The gateway's own paths are in proxy.app."""

from __future__ import annotations

from django.urls import path, register_converter

from proxy import (
    views,
    views_calculator,
    views_components,
    views_docs,
    views_exports,
    views_keys,
    views_logs,
    views_models,
    views_openapi,
    views_playground,
    views_quickstart,
    views_status,
    views_usage,
)


class KeyId:
    """The public id of a key in an address."""

    regex = "key_[0-9A-Za-z]{1,40}"

    def to_python(self, value: str) -> str:
        """Take it as it is."""
        return value

    def to_url(self, value: str) -> str:
        """Write it as it is."""
        return value


register_converter(KeyId, "key")

urlpatterns = [
    path("dashboard", views.overview, name="overview"),
    path("dashboard/quickstart", views_quickstart.quickstart, name="quickstart"),
    path(
        "dashboard/quickstart/first-request", views_quickstart.first_request, name="first_request"
    ),
    path("dashboard/keys", views_keys.key_list, name="keys"),
    path("dashboard/keys/new", views_keys.create, name="key_create"),
    path("dashboard/keys/<key:public_id>", views_keys.detail, name="key"),
    path("dashboard/keys/<key:public_id>/disable", views_keys.disable, name="key_disable"),
    path("dashboard/keys/<key:public_id>/enable", views_keys.enable, name="key_enable"),
    path("dashboard/keys/<key:public_id>/rotate", views_keys.rotate, name="key_rotate"),
    path("dashboard/keys/<key:public_id>/delete", views_keys.delete, name="key_delete"),
    path("dashboard/playground", views_playground.playground, name="playground"),
    path("dashboard/playground/key", views_playground.playground_key, name="playground_key"),
    path("dashboard/usage", views_usage.usage, name="usage"),
    path("dashboard/usage.csv", views_usage.usage_csv, name="usage_csv"),
    path("dashboard/logs", views_logs.log, name="logs"),
    path("dashboard/logs/<str:request_id>", views_logs.receipt, name="receipt"),
    path("dashboard/logs/<str:request_id>/prompt", views_logs.prompt, name="prompt"),
    path("dashboard/exports", views_exports.export_list, name="exports"),
    path("dashboard/exports/<str:public_id>.csv", views_exports.export_file, name="export_file"),
    path(
        "dashboard/exports/<str:public_id>/delete",
        views_exports.export_delete,
        name="export_delete",
    ),
    path("models", views_models.models, name="models"),
    path("models.json", views_models.models_json, name="models_json"),
    path("pricing", views_calculator.public, name="calculator"),
    path("dashboard/pricing", views_calculator.inside, name="dashboard_calculator"),
    path("staff/components", views_components.components, name="components"),
    path("openapi/gateway.json", views_openapi.gateway, name="gateway_openapi"),
    path("openapi/management.json", views_openapi.management, name="management_openapi"),
    path("docs", views_docs.docs, name="docs"),
    path("status", views_status.status_page, name="status"),
    path("docs/api", views_openapi.reference, name="api_docs"),
    path("docs/<slug:slug>", views_docs.chapter, name="chapter"),
]
