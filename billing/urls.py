"""Pages about money: none yet; the Overview of proxy shows balance and caps."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
