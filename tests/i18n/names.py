"""What is the same in every language: names of products, protocols and things of the API."""

from __future__ import annotations

import re
from typing import Final

from accounts.scopes import Role, Scope

SIGNATURE: Final = "Tollgate\n%(site_domain)s"
# Texts that are the same in a language as in the source, each on purpose.
SAME: Final[dict[str, frozenset[str]]] = {
    "de": frozenset(
        """
        API Chat Coin Dashboard Filter Gateway Limits Minimum Name Passkeys Playground Prompt
        Prompts Reasoning Scopes Status Team Tokens URL Webhook Webhooks Workspace Workspaces
        """.split()
    )
    | {SIGNATURE},
    "ru": frozenset({"API", "URL", SIGNATURE}),
}
# Words of Latin letters on Russian pages.
LATIN: Final = frozenset(
    """
    API CSV Ctrl Default Enter JSON JavaScript LangChain Node OpenAI OpenAPI Python SDK Tollgate URL
    USD USDC USDT ETH Anvil UTC ASCII Swagger UI curl mail https
    """.split()
)
# Addresses, ids, codes and what people named themselves.
SHAPES: Final = re.compile(r"\S+@\S+|\S*[/_.:…]\S*|\b[A-Z2-7]{32}\b|x-[a-z-]+")
# What the API calls scopes, kinds and roles, where pages show its own words.
CODES: Final = frozenset(str(each) for each in (*Scope, *Role))
# What a library says in the words of its source, and we do too.
BORROWED: Final[dict[str, frozenset[str]]] = {
    "de": frozenset({":", "IPv4", "IPv6", "Code", "Browser", "Name"}),
    "ru": frozenset({":", "IPv4", "IPv6"}),
}
