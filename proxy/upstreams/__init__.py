"""Providers' wire formats by the kind in the catalogue."""

from __future__ import annotations

from proxy.upstreams import anthropic, gemini, openai
from proxy.upstreams.base import Upstream

BY_KIND: dict[str, Upstream] = {
    "anthropic": anthropic,
    "gemini": gemini,
    "openai": openai,
    "sandbox": openai,
}


def of(kind: str) -> Upstream:
    """Return the adapter of a provider."""
    return BY_KIND[kind]
