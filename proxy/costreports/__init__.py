"""
What providers say a day has cost: one small module per kind of report, none knows Django.

Reader per word of ``cost_report`` in the catalogue; a provider whose word is ``none`` has no
report that could be asked for.
"""

from __future__ import annotations

from typing import Final

from proxy.costreports import openai, openrouter, sandbox
from proxy.costreports.base import Reader

READERS: Final[dict[str, Reader]] = {
    "openai": openai.read,
    "openrouter": openrouter.read,
    "sandbox": sandbox.read,
}
