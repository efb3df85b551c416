"""A wallet as an operator has one elsewhere: secret keys, for tests only."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from coincurve import PrivateKey

from billing.chains.xpub import LETTERS, PUBLIC_VERSION, Node

# Published with every development chain: whoever uses it for money has lost it.
MNEMONIC = "test test test test test test test test test test test junk"
HARDENED = 2**31
PATH = "m/44'/60'/0'"
SECRET_VERSION = bytes.fromhex("0488ade4")


@dataclass(frozen=True, slots=True)
class SecretNode:
    """A secret key with its chain code."""

    secret: bytes
    chain_code: bytes
    depth: int = 0

    def child(self, index: int) -> SecretNode:
        """Derive a child, hardened from 2**31 on."""
        key = PrivateKey(self.secret)
        told = b"\0" + self.secret if index >= HARDENED else key.public_key.format()
        digest = _hmac(self.chain_code, told + index.to_bytes(4, "big"))
        return SecretNode(key.add(digest[:32]).secret, digest[32:], self.depth + 1)

    @property
    def public(self) -> Node:
        """What a server may know."""
        return Node(PrivateKey(self.secret).public_key.format(), self.chain_code, self.depth)


def account(mnemonic: str = MNEMONIC, *, number: int = 0) -> SecretNode:
    """Return the secret node of an account."""
    seed = hashlib.pbkdf2_hmac("sha512", mnemonic.encode(), b"mnemonic", 2048)
    digest = _hmac(b"Bitcoin seed", seed)
    node = SecretNode(digest[:32], digest[32:])
    for index in (44, 60, number):
        node = node.child(HARDENED + index)
    return node


def xpub(node: Node) -> str:
    """Write a node as wallets show it."""
    return _written(PUBLIC_VERSION, node.depth, node.chain_code, node.point)


def xprv(node: SecretNode) -> str:
    """Write a secret node, which no server may be given."""
    return _written(SECRET_VERSION, node.depth, node.chain_code, b"\0" + node.secret)


def _written(version: bytes, depth: int, chain_code: bytes, key: bytes) -> str:
    raw = version + bytes([depth]) + bytes(8) + chain_code + key
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = LETTERS[rest] + text
    return text


def _hmac(key: bytes, told: bytes) -> bytes:
    return hmac.new(key, told, hashlib.sha512).digest()
