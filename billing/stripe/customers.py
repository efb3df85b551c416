"""Workspaces as Stripe's customers, and the cards they saved."""

from __future__ import annotations

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.actors import Actor
from accounts.models import Membership, Workspace
from accounts.scopes import Role
from billing import erasure
from billing.models_funding import AutoTopUp, SavedCard, StripeCustomer
from billing.stripe.client import Body, Refused, StripeError, connect, id_of, plain, refusals
from common import ids

log = structlog.get_logger(__name__)


def ensure(*, workspace: Workspace) -> str:
    """Return the customer id of a workspace, made on the first call.

    :raises billing.stripe.client.StripeError: it could not be made
    """
    found = StripeCustomer.objects.filter(workspace=workspace).first()
    if found is not None:
        return found.customer_id
    with refusals():
        made = connect().v1.customers.create(
            {
                "name": workspace.name,
                "email": _address(workspace),
                "metadata": {"workspace": workspace.public_id},
            },
            {"idempotency_key": f"customer-{ids.request_id()}"},
        )
    row, _ = StripeCustomer.objects.get_or_create(
        workspace=workspace, defaults={"customer_id": made.id}
    )
    return row.customer_id


def _address(workspace: Workspace) -> str:
    owners = Membership.objects.filter(workspace=workspace, role=Role.OWNER).order_by("id")
    return owners.values_list("user__email", flat=True).first() or settings.DEFAULT_FROM_EMAIL


@transaction.atomic
def forget(*, customer_id: str) -> None:
    """Somebody deleted a customer at Stripe: its cards are gone; another is made when needed."""
    row = StripeCustomer.objects.filter(customer_id=customer_id).first()
    if row is None:
        return
    AutoTopUp.objects.filter(workspace_id=row.workspace_id, enabled=True).update(
        enabled=False, stopped_because="customer_deleted"
    )
    SavedCard.objects.filter(workspace_id=row.workspace_id, detached_at=None).update(
        detached_at=timezone.now()
    )
    row.delete()


def forget_departed() -> int:
    """Delete at Stripe the customers whose accounts have ended; return how many are left."""
    left = 0
    for row in erasure.departed():
        try:
            with refusals():
                connect().v1.customers.delete(row.customer_id)
        except StripeError as error:
            if not (isinstance(error, Refused) and error.code == "resource_missing"):
                log.warning("A customer is not deleted at Stripe yet", why=str(error))
                left += 1
                continue
        forget(customer_id=row.customer_id)
        # An event that came late may have told what the card is called.
        erasure.blank_cards(workspace_id=row.workspace_id)
    return left


def sync_customer(*, customer_id: str) -> None:
    """Look whether a customer is still there."""
    with refusals():
        found = plain(connect().v1.customers.retrieve(customer_id))
    if found.get("deleted"):
        forget(customer_id=customer_id)


def sync_card(*, method_id: str) -> SavedCard | None:
    """Keep what may be shown of a card of one of our customers, or that it is gone."""
    with refusals():
        found = plain(connect().v1.payment_methods.retrieve(method_id))
    owner = StripeCustomer.objects.filter(customer_id=id_of(found.get("customer"))).first()
    if owner is None:
        _detach(method_id)
        return None
    return _keep(found, owner) if found.get("type") == "card" else None


@transaction.atomic
def _detach(method_id: str) -> None:
    gone = SavedCard.objects.filter(method_id=method_id, detached_at=None)
    AutoTopUp.objects.filter(card__in=gone, enabled=True).update(
        enabled=False, stopped_because="card_removed"
    )
    gone.update(detached_at=timezone.now())


def _keep(found: Body, owner: StripeCustomer) -> SavedCard:
    card = found["card"]
    facts = {
        "brand": card["brand"],
        "last4": card["last4"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "fingerprint": card.get("fingerprint") or "",
        "detached_at": None,
    }
    kept, _ = SavedCard.objects.update_or_create(
        method_id=found["id"], workspace_id=owner.workspace_id, defaults=facts
    )
    return kept


def forget_card(*, card: SavedCard, by: Actor) -> None:
    """Detach a card at Stripe, and never charge it again."""
    with refusals():
        connect().v1.payment_methods.detach(card.method_id)
    with transaction.atomic():
        _detach(card.method_id)
        audit.record(
            action="card.removed",
            by=by,
            target=audit.Target(card.public_id, f"{card.brand} {card.last4}"),
            workspaces=[card.workspace_id],
        )
