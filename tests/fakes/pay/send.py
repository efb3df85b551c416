"""``python -m tests.fakes.pay.send USDC|USDT|ETH ADDRESS AMOUNT``: a deposit in the demo."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.anvil import Anvil
from tests.fakes.pay.chains import DECIMALS, ROOT

ETHER = 10**18


def main(symbol: str, address: str, amount: str) -> str:
    """Send it and return the transaction."""
    folder = ROOT / Path(os.environ.get("DATA_DIR") or "var")
    told = json.loads((folder / "anvil-tokens.json").read_text())
    chain = Anvil(port=urlsplit(told["url"]).port)
    chain.accounts = chain.ask("eth_accounts")
    if symbol == "ETH":
        return chain.pay(address, int(Decimal(amount) * ETHER))
    return chain.send(told["tokens"][symbol], address, int(Decimal(amount) * 10**DECIMALS))


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]) + "\n")
