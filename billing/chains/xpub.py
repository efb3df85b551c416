"""
Public derivation of BIP-32: from an extended public key to addresses, without any secret key.

Only the two steps that a watcher needs are here; a hardened child cannot be derived from a
public key at all.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from coincurve import PublicKey

from billing.chains import addresses

LETTERS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PUBLIC_VERSION: Final = bytes.fromhex("0488b21e")
SECRET_VERSIONS: Final = (bytes.fromhex("0488ade4"), bytes.fromhex("04358394"))
LENGTH: Final = 78
# Purpose, coin and account are hardened and lie above the key that a server has.
ACCOUNT_DEPTH: Final = 3
RECEIVING: Final = 0
HARDENED: Final = 2**31


class NotAnXpub(ValueError):
    """The text is no extended public key of an account."""


@dataclass(frozen=True, slots=True)
class Node:
    """A public key (compressed, 33 bytes) with the chain code that derives its children."""

    point: bytes
    chain_code: bytes
    depth: int

    @property
    def address(self) -> str:
        """The Ethereum address of this key."""
        return addresses.of_public_key(PublicKey(self.point).format(compressed=False))


def parse(text: str) -> Node:
    """
    Read an extended public key as wallets show it (``xpub…``).

    :raises NotAnXpub: it is mistyped, of another kind, or a secret key
    """
    raw = _base58check(text.strip())
    version, depth, chain_code, point = raw[:4], raw[4], raw[13:45], raw[45:]
    if version in SECRET_VERSIONS:
        raise NotAnXpub(
            "This is an extended SECRET key. Whoever has it has the money: move everything to "
            "a new wallet, and give this server the extended public key (xpub…) only."
        )
    if version != PUBLIC_VERSION or len(raw) != LENGTH:
        raise NotAnXpub("This is no extended public key; it begins with xpub.")
    try:
        PublicKey(point)
    except ValueError:
        raise NotAnXpub("This extended public key holds no point of the curve.") from None
    return Node(point=point, chain_code=chain_code, depth=depth)


def child(node: Node, index: int) -> Node:
    """
    Derive a child that is not hardened (CKDpub).

    :raises ValueError: the index is hardened or negative, or has no child (one in 2**127)
    """
    if not 0 <= index < HARDENED:
        raise ValueError(f"{index} is no index of a child that is not hardened.")
    told = node.point + index.to_bytes(4, "big")
    digest = hmac.new(node.chain_code, told, hashlib.sha512).digest()
    point = PublicKey(node.point).add(digest[:32]).format()
    return Node(point=point, chain_code=digest[32:], depth=node.depth + 1)


def receiving_address(account: Node, index: int) -> str:
    """Return the address of an account's external chain, ``…/0/index``."""
    return child(child(account, RECEIVING), index).address


def _base58check(text: str) -> bytes:
    number = 0
    for letter in text:
        value = LETTERS.find(letter)
        if value < 0:
            raise NotAnXpub("This is no extended public key: it has letters that none has.")
        number = number * 58 + value
    try:
        # The first byte of the version is 4: no leading zeros to restore.
        raw = number.to_bytes(LENGTH + 4, "big")
    except OverflowError:
        raise NotAnXpub("This is no extended public key: it is too long.") from None
    body, sum_ = raw[:-4], raw[-4:]
    if hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4] != sum_:
        raise NotAnXpub("This extended public key is mistyped: its check sum is wrong.")
    return body
