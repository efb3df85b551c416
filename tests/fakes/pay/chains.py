"""
The chain of the demo: anvil with a USDC and a USDT of its own, and markets that price them.

The wallet's words are published with anvil; its account 7 is nobody's. What was paid stays in
the folder, so that a second run goes on where the first one ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

from billing.chains import xpub
from tests import packages
from tests.fakes import wallet
from tests.fakes.anvil import FINAL_AFTER, Anvil

ROOT: Final = Path(__file__).resolve().parents[3]
ACCOUNT: Final = 7
PATH: Final = f"m/44'/60'/{ACCOUNT}'"
BLOCK_S: Final = 2
PRICES: Final = {"USDC": "1.0001", "USDT": "0.9998", "ETH": "3000.25"}
TOKENS: Final = ("USDC", "USDT")
DECIMALS: Final = 6
KEY_WITHIN_S: Final = 300
SEND: Final = "PYTHONPATH=platform .venv/bin/python -m tests.fakes.pay.send USDC ADDRESS 5"


@contextmanager
def start(*, folder: Path) -> Iterator[dict[str, str]]:
    """Start chain and markets; yield what the product needs to know."""
    folder = folder if folder.is_absolute() else ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        chain = Anvil(block_s=BLOCK_S, state=folder / "anvil.json").start()
    except (packages.Missing, OSError, subprocess.SubprocessError) as error:
        sys.stdout.write(f"No crypto in this demo: {error}\n")
        yield {}
        return
    markets = _markets()
    try:
        tokens = _tokens(chain, folder)
        told = {"url": chain.url, "tokens": tokens}
        (folder / "anvil-tokens.json").write_text(json.dumps(told))
        plan = folder / "chains.yaml"
        plan.write_text(yaml.safe_dump(_plan(chain, tokens, markets)))
        given = {"CHAINS_FILE": str(plan), "CHAIN_LOOK_S": "2"}
        threading.Thread(target=_set_key, args=(given,), daemon=True).start()
        sys.stdout.write(f"Pay in crypto: {SEND}\n")
        yield given
    finally:
        markets.shutdown()
        markets.server_close()
        chain.stop()


def _tokens(chain: Anvil, folder: Path) -> dict[str, str]:
    kept = folder / "anvil-tokens.json"
    if kept.exists():
        tokens: dict[str, str] = json.loads(kept.read_text())["tokens"]
        if all(chain.ask("eth_getCode", each, "latest") != "0x" for each in tokens.values()):
            return tokens
    return {symbol: chain.token(symbol, DECIMALS) for symbol in TOKENS}


def _plan(chain: Anvil, tokens: dict[str, str], markets: ThreadingHTTPServer) -> dict[str, Any]:
    prices = f"http://127.0.0.1:{markets.server_address[1]}"
    return {
        "chains": [
            {
                "id": chain.chain_id,
                "name": "Anvil (demo)",
                # One node by two names: production has two operators.
                "rpc": [chain.url, chain.url.replace("127.0.0.1", "localhost")],
                "block_s": BLOCK_S,
                "finality_s": BLOCK_S * FINAL_AFTER,
                "start_block": 1,
                "tokens": [
                    {"symbol": symbol, "contract": each, "decimals": DECIMALS, "minimum": "1"}
                    for symbol, each in tokens.items()
                ],
                "native": {"symbol": "ETH", "decimals": 18, "minimum": "0.001"},
            }
        ],
        "markets": {symbol: {"stable": symbol in TOKENS, "min_sources": 2} for symbol in PRICES},
        "sources": [
            {"name": f"demo-{n}", "symbol": symbol, "url": f"{prices}/{symbol}", "price": "price"}
            for symbol in PRICES
            for n in (1, 2)
        ],
    }


def _markets() -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = json.dumps({"price": PRICES[self.path.strip("/")]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _set_key(given: dict[str, str]) -> None:
    """Give the product the wallet's public key, as soon as its database is there."""
    node = wallet.account(number=ACCOUNT).public
    command = [
        sys.executable, "manage.py", "set_xpub", "--path", PATH,
        "--first-address", xpub.receiving_address(node, 0),
    ]  # fmt: skip
    deadline = time.monotonic() + KEY_WITHIN_S
    while time.monotonic() < deadline:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **given},
            input=wallet.xpub(node) + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 or "in use" in done.stderr:
            return
        time.sleep(2)
