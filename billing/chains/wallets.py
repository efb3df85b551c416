"""The extended public key, and the addresses that are derived from it."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, signup
from accounts.actors import Actor, person_id
from accounts.models import User, Workspace
from billing.chains import addresses, config, watcher, xpub
from billing.chains.xpub import Node
from billing.models import DepositAddress, ExtendedKey
from common import crypto

PATH: Final = re.compile(r"m/44'/60'/\d{1,10}'")


class NoWallet(Exception):
    """No extended public key is set, or no chain is watched yet."""


class AlreadySet(ValueError):
    """An extended public key is in use; replacing it has to be said."""


class Unconfirmed(ValueError):
    """The first address is not the one that the wallet shows."""


def set_key(*, text: str, path: str, first_address: str, replace: bool) -> ExtendedKey:
    """
    Take an extended public key into use; addresses given out before stay watched.

    `first_address` is the one that the hardware wallet itself shows for the first address:
    who could swap the key would get all deposits.

    :raises billing.chains.xpub.NotAnXpub: it is no extended public key of an account
    :raises Unconfirmed: it leads to another first address
    :raises AlreadySet: another is in use and `replace` is not said, or it was used before
    """
    if PATH.fullmatch(path) is None:
        raise xpub.NotAnXpub(f"{path!r} is no path of an account; write e.g. m/44'/60'/0'.")
    node = xpub.parse(text)
    if node.depth != xpub.ACCOUNT_DEPTH:
        raise xpub.NotAnXpub(f"This key has depth {node.depth}; an account's has 3: {path}.")
    if addresses.checksummed(first_address) != xpub.receiving_address(node, 0):
        raise Unconfirmed(
            "The first address of this key is another than the one you gave. Compare with the "
            "display of the hardware wallet; do not take it from any computer."
        )
    fingerprint = hashlib.sha256(b"tollgate.xpub:" + node.point + node.chain_code).hexdigest()
    return _store(text.strip(), path, fingerprint, replace)


@transaction.atomic
def _store(text: str, path: str, fingerprint: str, replace: bool) -> ExtendedKey:
    in_use = ExtendedKey.objects.select_for_update().filter(retired_at=None).first()
    if ExtendedKey.objects.filter(fingerprint=fingerprint).exists():
        raise AlreadySet("This extended public key is or was in use.")
    if in_use is not None:
        if not replace:
            raise AlreadySet("An extended public key is in use; say --replace to retire it.")
        in_use.retired_at = timezone.now()
        in_use.save(update_fields=["retired_at"])
    sealed, sealed_with = crypto.seal(text.encode())
    return ExtendedKey.objects.create(
        sealed=sealed, sealed_with=sealed_with, path=path, fingerprint=fingerprint
    )


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
