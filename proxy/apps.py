"""The proxy app."""

from __future__ import annotations

from django.apps import AppConfig


class ProxyConfig(AppConfig):
    """The gateway, the catalogue, the evidence of calls, and what the status page measures."""

    name = "proxy"
    verbose_name = "Gateway and catalogue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Hear when the books were checked; billing knows nothing of the status page."""
        from accounts.erasure import on_erased
        from accounts.promptlogging import on_forgotten
        from billing import invariants
        from proxy import erasure, prompts, status

        if status.note_books not in invariants.on_checked:
            invariants.on_checked.append(status.note_books)
        if erasure.forget not in on_erased:
            on_erased.append(erasure.forget)
        if prompts.forget not in on_forgotten:
            on_forgotten.append(prompts.forget)
