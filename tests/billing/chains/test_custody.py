"""No key that could spend, no seed and no signing: anywhere but in tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("platform", "accounts", "billing", "proxy", "manage.py")
MODULES = {
    "eth_account", "eth_keys", "eth_keyfile", "web3", "bip_utils", "ecdsa", "mnemonic", "hdwallet",
}  # fmt: skip
NAMES = {
    "PrivateKey", "from_key", "from_mnemonic", "sign_transaction", "sign_recoverable",
    "signTransaction", "eth_sendTransaction", "eth_sendRawTransaction", "eth_sign",
    "eth_signTransaction", "personal_sign", "ecdh", "generate_private_key",
    "derive_private_key", "load_pem_private_key",
}  # fmt: skip


def found(source: str) -> set[str]:
    """Return what in a program could make or use a key that spends."""
    seen: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            seen |= {alias.name for alias in node.names if alias.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in MODULES:
                seen.add(node.module or "")
            seen |= {alias.name for alias in node.names if alias.name in NAMES}
        elif isinstance(node, ast.Name) and node.id in NAMES:
            seen.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            seen.add(node.attr)
        elif isinstance(node, ast.Constant) and node.value in NAMES:
            seen.add(str(node.value))
    return seen


class TestTheServer:
    def test_it_has_nothing_that_could_sign(self) -> None:
        guilty = {}
        for room in ROOMS:
            place = ROOT / room
            for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
                if seen := found(path.read_text("utf-8")):
                    guilty[str(path.relative_to(ROOT))] = sorted(seen)
        assert guilty == {}

    @pytest.mark.parametrize(
        "source",
        [
            "from eth_account import Account",
            "import web3.auto",
            "from coincurve import PrivateKey",
            "import coincurve\ncoincurve.PrivateKey(b'1')",
            "node.ask('eth_sendRawTransaction', raw)",
            "Account.from_key(key)",
        ],
    )
    def test_what_could_would_be_found(self, source: str) -> None:
        assert found(source)
