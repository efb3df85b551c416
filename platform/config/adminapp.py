"""Django's admin as an application of ours; apart, because a module has one default app."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    """Django's admin with our site in it, wherever ``admin.site`` is said."""

    default_site = "config.site.StaffSite"
