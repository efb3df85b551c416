"""Django's routes: the pages, the admin site. The gateway's paths never arrive here."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path

from accounts import views_errors
from proxy.readyz import readyz

handler400 = views_errors.bad_request
handler403 = views_errors.permission_denied
handler404 = views_errors.not_found
handler500 = views_errors.server_error

urlpatterns = [
    path("readyz", readyz),
    path("admin/", admin.site.urls),
    # Before our own addresses of the same views: Django reverses to the last.
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("proxy.urls")),
    path("api/v1/", include("accounts.api_urls")),
    path("api/v1/", include("billing.api_urls")),
    path("api/v1/", include("proxy.api_urls")),
    re_path(r"^api/v1(?:/.*)?$", views_errors.no_such_endpoint),
]
