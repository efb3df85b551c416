"""Payments by card: made, seen, refunded, repeated by themselves."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from accounts import versions
from accounts.api import Call, Endpoint, Page, Strict, UsdField, VersionField, needs, operation
from accounts.errors import Invalid, Missing
from accounts.models import Workspace
from accounts.scopes import Scope
from billing import autotopups, queue, refunds, topups
from billing.models_funding import AutoTopUp, Refund, SavedCard, TopUp
from billing.topups import NANOS_PER_CENT
from common import money, pagination

READ = needs(Scope.BILLING_READ)
MANAGE = needs(Scope.BILLING_MANAGE)


def cents(nanos: int, param: str) -> int:
    """Whole cents of an amount.

    :raises accounts.errors.Invalid: a fraction of a cent cannot be paid
    """
    if nanos % NANOS_PER_CENT:
        raise Invalid("Cards pay whole cents: write at most two decimals.", param=param)
    return nanos // NANOS_PER_CENT


def find(workspace: Workspace, public_id: str) -> TopUp:
    """A payment of a workspace.

    :raises accounts.errors.Missing: it has none of that id
    """
    found = TopUp.objects.filter(workspace=workspace, public_id=public_id).first()
    if found is None:
        raise Missing("There is no top-up of that id here.")
    return found


def find_card(workspace: Workspace, public_id: str | None) -> SavedCard | None:
    """A card of a workspace that can be charged; None where none is named.

    :raises accounts.errors.Invalid: it has none of that id
    """
    if not public_id:
        return None
    cards = SavedCard.objects.filter(workspace=workspace, detached_at=None)
    found = cards.filter(public_id=public_id).first()
    if found is None:
        raise Invalid("There is no saved card of that id here.", param="card")
    return found


def pay_url(top_up: TopUp) -> str:
    """Where a person pays; it leads to the processor's page."""
    return f"{settings.BASE_URL}/top-ups/{top_up.public_id}"


def usd(amount_cents: int) -> str:
    """Cents as dollars."""
    return money.usd(amount_cents * NANOS_PER_CENT)


class TopUpSerializer(serializers.Serializer[Any]):
    """One payment."""

    id = serializers.CharField()
    status = serializers.ChoiceField(choices=TopUp.Status.choices)
    method = serializers.ChoiceField(choices=TopUp.Method.choices)
    amount_usd = serializers.CharField(help_text="What is credited.")
    tax_usd = serializers.CharField(help_text="What is charged on top of it.")
    total_usd = serializers.CharField(help_text="What is charged: both.")
    package = serializers.CharField(help_text="The token package it buys, or empty.")
    pay_url = serializers.CharField(
        allow_null=True, help_text="Where a person pays; null where nothing is to be done."
    )
    failure = serializers.CharField()
    receipt_url = serializers.CharField()
    invoice_url = serializers.CharField(help_text="Of payments on a page; else empty.")
    created_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: TopUp) -> dict[str, Any]:
        """Write one payment."""
        when = serializers.DateTimeField().to_representation
        waits = instance.status == TopUp.Status.PENDING
        by_hand = waits and instance.method == TopUp.Method.CHECKOUT
        return {
            "id": instance.public_id,
            "status": instance.status,
            "method": instance.method,
            "amount_usd": usd(instance.amount_cents),
            "tax_usd": usd(instance.tax_cents),
            "total_usd": usd(instance.total_cents),
            "package": instance.package,
            "pay_url": pay_url(instance) if by_hand else None,
            "failure": instance.failure,
            "receipt_url": instance.receipt_url,
            "invoice_url": instance.invoice_url,
            "created_at": when(instance.created_at),
            "paid_at": when(instance.paid_at) if instance.paid_at else None,
        }


class NewTopUpSerializer(Strict):
    """A payment to make: an amount or a package; by a saved card, or on a page."""

    amount_usd = UsdField(required=False)
    package = serializers.SlugField(max_length=50, required=False)
    card = serializers.CharField(max_length=40, required=False)
    save_card = serializers.BooleanField(default=False)


class RefundSerializer(serializers.Serializer[Any]):
    """Money on its way back."""

    id = serializers.CharField(source="public_id")
    status = serializers.ChoiceField(choices=Refund.Status.choices)
    amount_usd = serializers.SerializerMethodField()
    credit_usd = serializers.SerializerMethodField()
    tax_usd = serializers.SerializerMethodField()

    def get_amount_usd(self, refund: Refund) -> str:
        """What the payer gets."""
        return usd(refund.amount_cents)

    def get_credit_usd(self, refund: Refund) -> str:
        """What the balance loses."""
        return money.usd(refund.credit_nanos)

    def get_tax_usd(self, refund: Refund) -> str:
        """What of it is tax."""
        return money.usd(refund.amount_cents * NANOS_PER_CENT - refund.credit_nanos)


class NewRefundSerializer(Strict):
    """How much is to go back; without an amount all that can."""

    amount_usd = UsdField(required=False)
    reason = serializers.CharField(max_length=200, required=False, default="")


class AutoTopUpChangeSerializer(Strict):
    """When a saved card is to be charged by itself."""

    enabled = serializers.BooleanField()
    threshold_usd = UsdField(source="threshold_nanos")
    amount_usd = UsdField()
    monthly_limit_usd = UsdField()
    card = serializers.CharField(max_length=40, allow_null=True, required=False)
    version = VersionField()


class AutoTopUpSerializer(serializers.Serializer[Any]):
    """When a saved card is charged by itself."""

    enabled = serializers.BooleanField()
    threshold_usd = UsdField()
    amount_usd = UsdField()
    monthly_limit_usd = UsdField()
    card = serializers.CharField(allow_null=True)
    failures = serializers.IntegerField()
    stopped_because = serializers.CharField()
    version = serializers.CharField()

    def to_representation(self, instance: AutoTopUp) -> dict[str, Any]:
        """Write the wishes."""
        facts = autotopups.facts(instance)
        return facts | {
            "failures": instance.failures,
            "stopped_because": instance.stopped_because,
            "version": versions.of(facts),
        }


class TopUpsView(Endpoint):
    """``/top-ups``"""

    @operation(name="list_top_ups", access=READ, answer=TopUpSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """The workspace's payments by card, the newest first."""
        return Page(*pagination.by_id(TopUp.objects.filter(workspace=call.workspace), call.page))

    @operation(
        name="create_top_up",
        access=MANAGE,
        body=NewTopUpSerializer,
        answer=TopUpSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> TopUp:
        """Begin a payment: a saved card is charged at once, else a person pays at `pay_url`."""
        body = call.body
        if ("amount_usd" in body) == ("package" in body):
            raise Invalid("Name an amount or a package.", param="amount_usd")
        made = topups.ask(
            workspace=call.workspace,
            amount_cents=cents(body.get("amount_usd", 0), "amount_usd"),
            by=call.by,
            card=find_card(call.workspace, body.get("card")),
            package=body.get("package", ""),
            save_card=body["save_card"],
        )
        if made.card_id:
            queue.after_commit("charge_card", made.pk)
        made.refresh_from_db()
        return made


class TopUpView(Endpoint):
    """``/top-ups/{top_up_id}``"""

    @operation(name="get_top_up", access=READ, answer=TopUpSerializer)
    def get(self, call: Call, top_up_id: str) -> TopUp:
        """One payment."""
        return find(call.workspace, top_up_id)


class RefundsView(Endpoint):
    """``/top-ups/{top_up_id}/refunds``"""

    @operation(name="list_refunds", access=READ, answer=RefundSerializer, paged=True)
    def get(self, call: Call, top_up_id: str) -> Page:
        """The refunds of a payment, the newest first."""
        rows = Refund.objects.filter(top_up=find(call.workspace, top_up_id))
        return Page(*pagination.by_id(rows, call.page))

    @operation(
        name="create_refund",
        access=MANAGE,
        body=NewRefundSerializer,
        answer=RefundSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call, top_up_id: str) -> Refund:
        """Send unspent paid money back to the card it came from."""
        top_up = find(call.workspace, top_up_id)
        wanted = call.body.get("amount_usd")
        left = refunds.refundable_cents(top_up)
        made = refunds.ask(
            top_up=top_up,
            amount_cents=left if wanted is None else cents(wanted, "amount_usd"),
            by=call.by,
            reason=call.body["reason"],
        )
        queue.after_commit("send_refund", made.pk)
        return made


class AutoTopUpView(Endpoint):
    """``/auto-top-up``"""

    @operation(name="get_auto_top_up", access=READ, answer=AutoTopUpSerializer)
    def get(self, call: Call) -> AutoTopUp:
        """Whether and how a saved card is charged by itself."""
        return autotopups.of(workspace=call.workspace)

    @operation(
        name="set_auto_top_up",
        access=MANAGE,
        body=AutoTopUpChangeSerializer,
        answer=AutoTopUpSerializer,
    )
    def put(self, call: Call) -> AutoTopUp:
        """Switch it on or off, or change it."""
        body = call.body
        return autotopups.choose(
            workspace=call.workspace,
            enabled=body["enabled"],
            threshold_nanos=body["threshold_nanos"],
            amount_cents=cents(body["amount_usd"], "amount_usd"),
            monthly_limit_cents=cents(body["monthly_limit_usd"], "monthly_limit_usd"),
            card=find_card(call.workspace, body.get("card")),
            by=call.by,
            version=call.version,
        )
