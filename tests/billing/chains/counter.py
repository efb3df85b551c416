"""A deposit counter: a configured chain, a wallet, customers with addresses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Workspace
from billing import invariants, ledger
from billing.chains import config, identity, wallets, watcher
from billing.chains.watcher import Look
from billing.models import Alert, Deposit, DepositAddress, Quote
from tests.billing import bank
from tests.fakes import wallet
from tests.fakes.evm import Event, FakeChain, Tx

USDC = "0x" + "a1" * 20
USDT = "0x" + "a2" * 20
FAKE = "0x" + "bb" * 20
PAYER = "0x" + "cc" * 20
TREASURY = "0x" + "dd" * 20
ETHER = 10**18
FIRST = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def plan(urls: list[str], **changes: Any) -> dict[str, Any]:
    """Return a configuration as YAML has it."""
    chain: dict[str, Any] = {
        "id": 31337,
        "name": "Anvil",
        "rpc": urls,
        "tokens": [
            {"symbol": "USDC", "contract": USDC, "decimals": 6, "minimum": "1"},
            {"symbol": "USDT", "contract": USDT, "decimals": 6, "minimum": "1"},
        ],
        "native": {"symbol": "ETH", "decimals": 18, "minimum": "0.001"},
        "start_block": 1,
    }
    return {
        "chains": [chain | changes],
        "markets": {
            "USDC": {"stable": True, "min_sources": 1},
            "USDT": {"stable": True, "min_sources": 1},
            "ETH": {"min_sources": 2},
        },
        "sources": [
            {"name": f"market-{n}", "symbol": symbol, "url": "http://127.0.0.1:9", "price": "price"}
            for symbol in ("USDC", "USDT", "ETH")
            for n in (1, 2)
        ],
    }


def configure(settings: Settings, folder: Path, given: dict[str, Any]) -> None:
    """Put a configuration in force."""
    path = folder / f"chains-{len(list(folder.glob('chains-*')))}.yaml"
    path.write_text(yaml.safe_dump(given))
    settings.CHAINS_FILE = str(path)
    settings.CHAIN_RPC = {}
    identity.forget()


@dataclass(slots=True)
class Counter:
    """What a test needs at hand."""

    chain: FakeChain

    def customer(self) -> DepositAddress:
        """Make a workspace with an address."""
        workspace: Workspace = bank.customer().workspace
        return wallets.give(workspace=workspace)

    def look(self) -> Look:
        """Look at the chain once."""
        return watcher.watch(chain=config.chain(self.chain.chain_id))

    def pay(self, address: DepositAddress, amount: int, token: str = USDC) -> Tx:
        """Return a transaction that pays."""
        return self.chain.tx(Event(token, PAYER, address.address, amount))

    def credited(self, address: DepositAddress, symbol: str = "USDC") -> int:
        """Return what the ledger has of a token for an address's workspace."""
        return self.balance(address, self.asset(symbol)).total

    def asset(self, symbol: str) -> str:
        """Return the ledger's name."""
        return next(name for name, token in config.tokens().items() if token.symbol == symbol)

    def balance(self, address: DepositAddress, asset: str = "USD") -> ledger.Balance:
        """Return a balance."""
        return ledger.balance(workspace_id=address.workspace_id, asset=asset)


def quote(symbol: str, price: str, *, age_s: float = 0) -> None:
    """Let a coin have a price."""
    Quote.objects.update_or_create(
        symbol=symbol,
        defaults={
            "price": Decimal(price),
            "source": "median of test",
            "at": timezone.now() - timedelta(seconds=age_s),
        },
    )


def set_wallet() -> None:
    """Take the test wallet's public key into use."""
    text = wallet.xpub(wallet.account().public)
    wallets.set_key(offered=wallets.offer(text=text, path=wallet.PATH, first_address=FIRST))


def amounts() -> list[int]:
    """Return the amounts of all deposits in order of booking."""
    return list(Deposit.objects.order_by("id").values_list("amount", flat=True))


def books_balance() -> bool:
    """Whether the ledger violates nothing."""
    return invariants.check().ok


def incidents() -> list[str]:
    """Return what operators are told of now."""
    found = Alert.objects.filter(workspace=None, closed_at=None).order_by("subject")
    return list(found.values_list("subject", flat=True))
