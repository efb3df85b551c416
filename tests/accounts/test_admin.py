from __future__ import annotations

from django.apps import apps
from django.contrib import admin


class TestRegistration:
    def test_every_model_is_registered(self) -> None:
        models = set(apps.get_app_config("accounts").get_models())
        assert models <= set(admin.site._registry)
