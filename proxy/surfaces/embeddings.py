"""``POST embeddings``, as OpenAI documents it."""

from __future__ import annotations

import msgspec

from proxy.exchange import Exchange
from proxy.guard import MEGABYTE
from proxy.surfaces.base import Outcome, Rendering
from proxy.surfaces.chat import CHAT
from proxy.wire import embeddings as wire
from proxy.wire import results
from proxy.wire.answers import Completion, usage_object
from proxy.wire.call import Call


class Embeddings:
    """Vectors of texts, paid by the prompts' tokens in US dollars."""

    name = "embeddings"
    scope = "embeddings"
    asset = "USD"
    limit_bytes = 10 * MEGABYTE

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        return wire.parse(body)

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Return the list under the name that was asked for."""
        told = usage_object(outcome.usage, cost=outcome.cost)
        return msgspec.json.encode(
            {
                "object": "list",
                "data": results.vectors_of(completion.fields["data"]),
                "model": exchange.name_of(outcome.leg),
                "usage": {name: told[name] for name in ("prompt_tokens", "total_tokens", "cost")},
            }
        )

    def rendering(self, exchange: Exchange) -> Rendering:
        """Return what tells an error in a stream; embeddings have no other."""
        return CHAT.rendering(exchange)


EMBEDDINGS = Embeddings()
