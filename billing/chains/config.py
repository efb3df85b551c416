"""
Which chains and tokens are accepted: a YAML file, read once and checked as a whole.

Addresses of RPC endpoints often hold a secret: they may stand in the environment instead
(``CHAIN_RPC_<chain id>``, separated by commas) and are never logged.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from django.conf import settings

from billing.chains import addresses

# The ledger counts in bigint: nine decimals leave room for nine billion coins.
MOST_DECIMALS: Final = 9
NATIVE: Final = "native"
FEWEST_ENDPOINTS: Final = 2
# Contracts that show a chain's own money as a token: the same coins would be booked twice.
NATIVE_TOO: Final = frozenset(
    {
        "0x0000000000000000000000000000000000001010",  # Polygon
        "0x000000000000000000000000000000000000800a",  # ZKsync
        "0x471ece3750da237f93b8e339c536989b8978a438",  # Celo
    }
)


class NotConfigured(Exception):
    """No chain is configured, or not this one."""


class Wrong(ValueError):
    """The file cannot be used; the text says what to change."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of money on one chain; decimals belong to the contract, not to the symbol."""

    symbol: str
    decimals: int
    contract: str = NATIVE
    minimum: str = "0"
    approve_above: str | None = None
    chain_id: int = 0

    @property
    def asset(self) -> str:
        """The ledger's name."""
        return f"{self.symbol}@{self.chain_id}:{self.contract}"

    @property
    def is_native(self) -> bool:
        """Whether it is the chain's own money."""
        return self.contract == NATIVE

    @property
    def ledger_decimals(self) -> int:
        """The decimals that the ledger counts in."""
        return min(self.decimals, MOST_DECIMALS)

    @property
    def scale(self) -> int:
        """How many of the token's smallest units are one of the ledger's."""
        scale: int = 10 ** (self.decimals - self.ledger_decimals)
        return scale

    @property
    def least(self) -> int:
        """The minimum in the token's smallest units."""
        return max(base_units(self.minimum, self.decimals), 1)

    @property
    def most_unseen(self) -> int | None:
        """Above this, in the token's smallest units, a person decides."""
        limit = self.approve_above
        return None if limit is None else base_units(limit, self.decimals)


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One EVM chain."""

    id: int
    name: str
    tokens: list[Token]
    rpc: list[str] = []
    native: Token | None = None
    block_s: float = 12.0
    finality_s: float = 900.0
    max_range: int = 2000
    rescan_blocks: int = 300
    start_block: int | None = None
    blocked_senders: list[str] = []
    # A contract that answers isSanctioned(address).
    sanctions_oracle: str | None = None
    # Native money that contracts send has no sender that a balance could show.
    hold_unseen: bool = False

    @property
    def accepted(self) -> list[Token]:
        """All money that is accepted here."""
        return [*self.tokens, *([self.native] if self.native else [])]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An HTTP address that tells a price as JSON; `price` and `at` are dotted paths in it."""

    name: str
    symbol: str
    url: str
    price: str
    at: str | None = None


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a coin is priced."""

    stable: bool = False
    min_sources: int = 2
    max_age_s: float = 120.0
    # A stablecoin further below a dollar, or sources further apart: nothing is converted.
    max_off_ppm: int = 10_000


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    chains: list[Chain]
    markets: dict[str, Market]
    sources: list[Source]
    spread_ppm: int = 0


def base_units(text: str, decimals: int) -> int:
    """
    Return an amount of coins in smallest units.

    :raises ValueError: it is no amount, or has more digits than the coin
    """
    try:
        number = Decimal(text).scaleb(decimals)
    except ArithmeticError:
        raise ValueError(f"{text!r} is no amount; write e.g. 1.50.") from None
    if not number.is_finite() or number < 0 or number != number.to_integral_value():
        raise ValueError(f"{text!r} is no amount with at most {decimals} decimals.")
    return int(number)


def written(amount: int, decimals: int) -> str:
    """Return an amount of smallest units in coins, exactly: ``1.5``."""
    whole, rest = divmod(abs(amount), 10**decimals)
    fraction = str(rest).rjust(decimals, "0").rstrip("0") if rest else ""
    return f"{'-' if amount < 0 else ''}{whole}{'.' + fraction if fraction else ''}"


def configured() -> bool:
    """Whether any chain is."""
    return bool(settings.CHAINS_FILE)


def current() -> Config:
    """
    Return the configuration in force.

    :raises NotConfigured: there is none
    :raises Wrong: the file cannot be used
    """
    if not settings.CHAINS_FILE:
        raise NotConfigured("No chain is configured: CHAINS_FILE is not set.")
    return read(str(settings.CHAINS_FILE))


def chain(chain_id: int) -> Chain:
    """
    Return one chain.

    :raises NotConfigured: it is not in the file
    """
    for each in current().chains:
        if each.id == chain_id:
            return each
    raise NotConfigured(f"Chain {chain_id} is not in CHAINS_FILE.")


def tokens() -> dict[str, Token]:
    """Return all accepted money by its ledger's name; nothing where no chain is configured."""
    if not configured():
        return {}
    return {token.asset: token for each in current().chains for token in each.accepted}


def asset_decimals(asset: str) -> int:
    """Return the decimals that the ledger counts an asset in, also of one no longer accepted."""
    known = tokens().get(asset)
    return MOST_DECIMALS if known is None else known.ledger_decimals


@lru_cache(maxsize=8)
def read(path: str) -> Config:
    """
    Read a file.

    :raises Wrong: it cannot be used
    """
    try:
        text = Path(path).read_text("utf-8")
        given = yaml.safe_load(text)
        found = msgspec.convert(given, Config)
        return _checked(found)
    except yaml.MarkedYAMLError as error:
        # Not the line itself, which may be an endpoint's address with its secret.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Wrong(f"CHAINS_FILE {path}, line {line}: {error.problem}") from None
    except OSError as error:
        raise Wrong(f"CHAINS_FILE {path}: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as error:
        raise Wrong(f"CHAINS_FILE {path}: {error}") from None


def _checked(found: Config) -> Config:
    chains = [_completed(each) for each in found.chains]
    if len({each.id for each in chains}) < len(chains):
        raise ValueError("a chain is named twice")
    for symbol in {token.symbol for each in chains for token in each.accepted}:
        market = found.markets.get(symbol)
        if market is None:
            raise ValueError(f"markets lacks {symbol}")
        if len([s for s in found.sources if s.symbol == symbol]) < market.min_sources:
            raise ValueError(f"{symbol} has fewer sources than its min_sources")
    return msgspec.structs.replace(found, chains=chains)


def _completed(each: Chain) -> Chain:
    rpc = list(dict.fromkeys(settings.CHAIN_RPC.get(each.id, []) or each.rpc))
    if len(rpc) < FEWEST_ENDPOINTS:
        raise ValueError(f"chain {each.id} needs two RPC endpoints of different operators")
    if min(each.max_range, each.rescan_blocks) < 1:
        raise ValueError(f"chain {each.id}: max_range and rescan_blocks are at least 1")
    tokens = [_token(token, each) for token in each.tokens]
    if any(token.is_native for token in tokens):
        raise ValueError(f"chain {each.id}: its own money stands under native, without contract")
    if both := [token.contract for token in tokens if each.native and token.contract in NATIVE_TOO]:
        raise ValueError(f"chain {each.id}: {both[0]} is its own money, which stands under native")
    if len({token.contract for token in tokens}) < len(tokens):
        raise ValueError(f"chain {each.id} names a contract twice")
    native = None if each.native is None else _token(each.native, each)
    blocked = [addresses.checksummed(sender) for sender in each.blocked_senders]
    oracle = each.sanctions_oracle and addresses.checksummed(each.sanctions_oracle).lower()
    changes: dict[str, Any] = {"rpc": rpc, "tokens": tokens, "native": native}
    return msgspec.structs.replace(
        each, blocked_senders=blocked, sanctions_oracle=oracle or None, **changes
    )


def _token(token: Token, each: Chain) -> Token:
    base_units(token.minimum, token.decimals)
    if token.approve_above is not None:
        base_units(token.approve_above, token.decimals)
    contract = token.contract
    if contract != NATIVE:
        contract = addresses.checksummed(contract).lower()
    return msgspec.structs.replace(token, contract=contract, chain_id=each.id)
