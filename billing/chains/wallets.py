"""The extended public key, and the addresses that are derived from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import approvals, audit, signup
from accounts.actors import Actor, Staff, person_id
from accounts.approvals import Order
from accounts.errors import Invalid
from accounts.models import Approval, User, Workspace
from billing.chains import addresses, config, watcher, xpub
from billing.chains.xpub import Node
from billing.models import DepositAddress, ExtendedKey
from common import crypto

REPLACEMENT: Final = "crypto.wallet"
PATH: Final = re.compile(r"m/44'/60'/\d{1,10}'")


class NoWallet(Exception):
    """No extended public key is set, or no chain is watched yet."""


class AlreadySet(ValueError):
    """An extended public key is in use; replacing it takes two people."""


class Unconfirmed(ValueError):
    """The first address is not the one that the wallet shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An extended public key that leads to the first address that the wallet shows."""

    text: str
    path: str
    first_address: str
    fingerprint: str


def register() -> None:
    """Tell approvals how a key is replaced."""
    approvals.register(kind=REPLACEMENT, execute=_replace)


def offer(*, text: str, path: str, first_address: str) -> Offer:
    """
    Check an extended public key.

    `first_address` is the one that the hardware wallet itself shows for the first address:
    who could swap the key would get all deposits.

    :raises billing.chains.xpub.NotAnXpub: it is no extended public key of an account
    :raises Unconfirmed: it leads to another first address
    :raises AlreadySet: it is or was in use
    """
    if PATH.fullmatch(path) is None:
        raise xpub.NotAnXpub(f"{path!r} is no path of an account; write e.g. m/44'/60'/0'.")
    node = xpub.parse(text)
    if node.depth != xpub.ACCOUNT_DEPTH:
        raise xpub.NotAnXpub(f"This key has depth {node.depth}; an account's has 3: {path}.")
    first = addresses.checksummed(first_address)
    if first != xpub.receiving_address(node, 0):
        raise Unconfirmed(
            "The first address of this key is another than the one you gave. Compare with the "
            "display of the hardware wallet; do not take it from any computer."
        )
    fingerprint = hashlib.sha256(b"tollgate.xpub:" + node.point + node.chain_code).hexdigest()
    if ExtendedKey.objects.filter(fingerprint=fingerprint).exists():
        raise AlreadySet("This extended public key is or was in use.")
    return Offer(text=text.strip(), path=path, first_address=first, fingerprint=fingerprint)


@transaction.atomic
def set_key(*, offered: Offer) -> ExtendedKey:
    """
    Take the first extended public key into use.

    :raises AlreadySet: there is one; replacing it takes two people
    """
    with connection.cursor() as cursor:
        # Of two that would be the first one waits for the other.
        cursor.execute("lock table billing_extendedkey in share row exclusive mode")
    if ExtendedKey.objects.exists():
        raise AlreadySet(
            "An extended public key is in use; replacing it takes two members of staff: say "
            "--replace, --staff and --reason."
        )
    return _store(offered, by=None)


def ask_replacement(*, offered: Offer, by: Staff, reason: str) -> Approval:
    """
    Ask a second member of staff to replace the key in use; the others are told by mail.

    :raises accounts.errors.Refused: no reason, or no second factor
    """
    sealed, sealed_with = crypto.seal(offered.text.encode())
    return approvals.ask(
        kind=REPLACEMENT,
        payload={
            "sealed": sealed.hex(),
            "sealed_with": sealed_with,
            "path": offered.path,
            "first_address": offered.first_address,
        },
        summary=(
            f"Take all deposits of new customers at another wallet: {offered.path}, first "
            f"address {offered.first_address}. Compare it with the wallet's own display."
        ),
        reason=reason,
        by=by,
    )


def _replace(order: Order) -> Mapping[str, Any]:
    asked = order.payload
    try:
        text = crypto.unseal(bytes.fromhex(asked["sealed"]), asked["sealed_with"]).decode()
        # Again: the payload may be of another hand, or another key is in use meanwhile.
        offered = offer(text=text, path=asked["path"], first_address=asked["first_address"])
    except (ValueError, crypto.UnreadableSecret) as error:
        raise Invalid(str(error)) from None
    now = timezone.now()
    ExtendedKey.objects.filter(retired_at=None).update(retired_at=now)
    _store(offered, by=order.by)
    return {"first_address": offered.first_address}


def _store(offered: Offer, *, by: Actor) -> ExtendedKey:
    sealed, sealed_with = crypto.seal(offered.text.encode())
    key = ExtendedKey.objects.create(
        sealed=sealed,
        sealed_with=sealed_with,
        path=offered.path,
        fingerprint=offered.fingerprint,
    )
    audit.record(
        action="crypto.wallet_set",
        by=by,
        target=audit.Target(str(key.pk), "extended public key"),
        workspaces=[None],
        after={"path": offered.path, "first_address": offered.first_address},
    )
    return key


def find(*, workspace: Workspace) -> DepositAddress | None:
    """Return a workspace's address, if it has one."""
    return DepositAddress.objects.filter(workspace=workspace).first()


def available() -> bool:
    """Whether an address can be given out now."""
    in_use = ExtendedKey.objects.filter(retired_at=None)
    return config.configured() and in_use.exists() and watcher.ready()


@transaction.atomic
def give(*, workspace: Workspace, by: Actor = None) -> DepositAddress:
    """
    Return a workspace's address, made on the first call.

    :raises NoWallet: there is no key, or no chain is watched yet
    :raises accounts.signup.NotVerified: the person who asks has no proved address
    """
    found = find(workspace=workspace)
    if found is not None:
        return found
    person = person_id(by)
    if person is not None:
        signup.require_verified(User.objects.get(pk=person))
    if not config.configured() or not watcher.ready():
        raise NoWallet(_("Deposits of crypto are not ready yet; try again in a minute."))
    key = ExtendedKey.objects.select_for_update().filter(retired_at=None).first()
    if key is None:
        raise NoWallet(_("Deposits of crypto are not set up here."))
    # Whoever waited for the key may find that the other call made it.
    found = find(workspace=workspace)
    if found is not None:
        return found
    index = key.next_index
    key.next_index = index + 1
    key.save(update_fields=["next_index"])
    made = DepositAddress.objects.create(
        workspace=workspace,
        extended_key=key,
        index=index,
        address=xpub.receiving_address(_node(key), index),
    )
    audit.record(
        action="crypto.address_given",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        after={"address": made.address},
    )
    return made


def is_ours(*, address: DepositAddress) -> bool:
    """Whether an address still follows from its key: a changed row must not be shown."""
    node = _node(address.extended_key)
    return xpub.receiving_address(node, address.index) == address.address


def _node(key: ExtendedKey) -> Node:
    return xpub.parse(crypto.unseal(bytes(key.sealed), key.sealed_with).decode())
