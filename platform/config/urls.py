"""Django's routes: the pages, the admin site. The gateway's paths never arrive here."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from proxy.readyz import readyz

urlpatterns = [
    path("readyz", readyz),
    path("admin/", admin.site.urls),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("proxy.urls")),
    path("accounts/", include("allauth.urls")),
]
