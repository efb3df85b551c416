"""
localstripe on one port of this machine; runs in its own environment: ``python program.py PORT``.

Two gaps of its payment intents are closed here: it knows no description, and does not say how
much was received.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from aiohttp import web
from localstripe import resources, server

create = resources.PaymentIntent._api_create


def undescribed(description: str = "", **said: Any) -> Any:
    """Make a payment intent without the description that was sent."""
    return create(**said)


def received(intent: Any) -> int:
    """What was paid of an intent."""
    return int(intent.amount) if intent.status == "succeeded" else 0


if __name__ == "__main__":
    resources.PaymentIntent._api_create = undescribed
    resources.PaymentIntent.amount_received = property(received)
    logging.basicConfig(level=logging.ERROR)
    web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
