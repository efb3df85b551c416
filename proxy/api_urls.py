"""The management API of requests, prices and exports, below /api/v1/."""

from __future__ import annotations

from django.urls import path

from proxy import api_exports, api_logs, api_prices

urlpatterns = [
    path("logs", api_logs.LogsView.as_view()),
    path("logs/<str:request_id>", api_logs.LogView.as_view()),
    path("logs/<str:request_id>/prompt", api_logs.LogPromptView.as_view()),
    path("prices", api_prices.PricesView.as_view()),
    path("exports", api_exports.ExportsView.as_view()),
    path("exports/<str:export_id>", api_exports.ExportView.as_view()),
    path("exports/<str:export_id>/file", api_exports.ExportFileView.as_view()),
]
