"""The project itself as an application, so that its checks are always registered."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Registers what must be true before a start."""

    name = "config"

    def ready(self) -> None:
        """Import the checks."""
        import_module("config.startup")
