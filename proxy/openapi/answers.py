"""What callers are answered, as types: the source of the answers' JSON Schema, nothing more."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from common.errors import TYPES
from common.reasons import REASON_LIST

Count = Annotated[int, Meta(ge=0)]
Money = Annotated[str, Meta(pattern=r"^-?\d+(\.\d+)?$", description="A decimal, exact.")]
Usd = Annotated[float, Meta(description="US dollars.")]
RequestForm = Annotated[str, Meta(pattern=r"^(req_|gen_|chatcmpl-)[0-9a-hjkmnp-tv-z]{26}$")]
Status = Annotated[int, Meta(extra_json_schema={"enum": [*TYPES]})]
Kind = Annotated[str, Meta(extra_json_schema={"enum": [*TYPES.values()]})]
Why = Annotated[str, Meta(extra_json_schema={"enum": [*REASON_LIST]})]


class ErrorBody(Struct):
    """What went wrong; `reason` is one of a closed list, `code` is the HTTP status."""

    type: Kind
    message: str
    code: Status
    param: str | None
    reason: Why
    asset: Literal["USD", "TOK"] | None = None
    needed_usd: Money | None = None
    affordable_max_tokens: Count | None = None
    cap: str | None = None
    reset_at: datetime | None = None
    receipt_id: RequestForm | None = None


class Error(Struct):
    """The one shape of all errors."""

    error: ErrorBody


class PromptDetails(Struct):
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0


class CompletionDetails(Struct):
    reasoning_tokens: Count = 0


class Usage(Struct):
    """Tokens, and what the call cost."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cost: Usd
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class ChatMessage(Struct):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatChoice(Struct):
    index: Count
    message: ChatMessage
    finish_reason: str | None


class ChatCompletion(Struct):
    id: RequestForm
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[ChatChoice], Meta(min_length=1)]
    usage: Usage


class TextChoice(Struct):
    text: str
    index: Count
    logprobs: None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(Struct):
    id: Annotated[str, Meta(pattern="^cmpl-")]
    object: Literal["text_completion"]
    created: int
    model: str
    choices: Annotated[list[TextChoice], Meta(min_length=1)]
    usage: Usage


class ResponseUsage(Struct):
    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    cost: Usd
    input_tokens_details: PromptDetails
    output_tokens_details: CompletionDetails


class Response(Struct):
    """What was asked, repeated, and the items of the answer; nothing of it is kept."""

    id: Annotated[str, Meta(pattern="^resp_")]
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    usage: ResponseUsage
    store: bool
    incomplete_details: dict[str, Any] | None


class EmbeddingsUsage(Struct):
    prompt_tokens: Count
    total_tokens: Count
    cost: Usd


class Embedding(Struct):
    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class Embeddings(Struct):
    object: Literal["list"]
    data: Annotated[list[Embedding], Meta(min_length=1)]
    model: str
    usage: EmbeddingsUsage


class Picture(Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class Pictures(Struct):
    created: int
    data: Annotated[list[Picture], Meta(min_length=1)]
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: dict[str, Any] | None = None


class GenerationUsage(Struct):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count


class Generation(Struct):
    """A text that was paid in platform tokens; the provider's own counts are for reference."""

    id: Annotated[str, Meta(pattern="^gen_")]
    status: Literal["completed", "pending", "failed"]
    model: str
    content: str | None
    tokens_used: Count
    balance_remaining: int | None
    usage: GenerationUsage
    created_at: datetime
    error: ErrorBody | None = None


class Pricing(Struct):
    """US dollars: tokens by the thousand, pictures by size and quality, each search and request."""

    prompt: Money | None = None
    completion: Money | None = None
    input_cache_read: Money | None = None
    input_cache_write: Money | None = None
    web_search: Money | None = None
    image: dict[str, dict[str, Money]] | None = None
    request: Money | None = None


class Model(Struct):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    pricing: Pricing
    context_length: Count | None


class Models(Struct):
    object: Literal["list"]
    data: list[Model]


class Amount(Struct):
    asset: Literal["USD", "TOK"]
    amount: Money
    usd: Money


class Correction(Struct):
    """What was charged, and on what evidence, before better evidence came."""

    at: datetime
    source_before: str
    charge_before: Amount


class Receipt(Struct):
    """One call: what it was, what it cost and why, whom we asked."""

    id: Annotated[str, Meta(pattern="^gen_")]
    request_id: Annotated[str, Meta(pattern="^req_")]
    state: Literal["pending", "settled", "voided", "expired", "late"]
    status: int | None
    reason: str | None
    model: str
    provider_name: str | None
    created_at: datetime
    streamed: bool
    cancelled: bool
    tokens_prompt: Count
    tokens_completion: Count
    total_cost: Usd
    usage: Usd
    tokens: dict[str, Any]
    source: str
    estimated: bool
    corrected: Correction | None
    price_version: dict[str, Any] | None
    hold: Amount
    charge: Amount
    timings: dict[str, Any]
    attempts: list[dict[str, Any]]


class ReceiptAnswer(Struct):
    data: Receipt


class RateLimit(Struct):
    requests: Count | None
    interval: Literal["1m"]
    note: str
    tokens: Count | None
    streams: Count | None


class KeyStanding(Struct):
    """A key, its caps and what it has used."""

    label: str
    name: str
    id: str
    workspace_id: str
    scopes: list[str]
    limit: Usd | None
    limit_remaining: Usd | None
    limit_reset: Literal["daily", "monthly"] | None
    usage: Usd
    usage_daily: Usd
    usage_weekly: Usd
    usage_monthly: Usd
    byok_usage: Usd
    byok_usage_daily: Usd
    byok_usage_weekly: Usd
    byok_usage_monthly: Usd
    include_byok_in_limit: bool
    is_free_tier: bool
    is_management_key: bool
    is_provisioning_key: bool
    creator_user_id: str | None
    created_at: datetime
    expires_at: datetime | None
    rate_limit: RateLimit
    held: Money
    caps: dict[str, Any]


class KeyAnswer(Struct):
    data: KeyStanding


class TokenCredits(Struct):
    total_credits: Count
    total_usage: Count
    held: Money
    available: Money


class Credits(Struct):
    """A workspace's US dollars, its platform tokens beside them."""

    total_credits: Usd
    total_usage: Usd
    held: Money
    available: Money
    tokens: TokenCredits
    workspace_id: str


class CreditsAnswer(Struct):
    data: Credits


class Health(Struct):
    status: Literal["ok"]


SHAPES: tuple[type[Struct], ...] = (
    Error,
    ChatCompletion,
    TextCompletion,
    Response,
    Embeddings,
    Pictures,
    Generation,
    Models,
    ReceiptAnswer,
    KeyAnswer,
    CreditsAnswer,
    Health,
)
