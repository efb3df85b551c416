"""Money that comes from outside by a processor: payments, refunds and what is claimed back."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Workspace
from common import ids


class TopUp(models.Model):
    """
    One payment: asked for, then paid or not.

    ``amount_cents`` is what the workspace is credited; tax comes on top of it. The status only
    moves forward, and paid is where it ends: money that came late came all the same.
    """

    class Method(models.TextChoices):
        """How it is paid."""

        CHECKOUT = "checkout"
        CARD = "card"
        AUTO = "auto"

    class Status(models.TextChoices):
        """How far it is."""

        PENDING = "pending"
        FAILED = "failed"
        EXPIRED = "expired"
        PAID = "paid"

    public_id = models.CharField(max_length=40, unique=True, default=partial(ids.public, "top"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="top_ups")
    method = models.CharField(max_length=16, choices=Method)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    amount_cents = models.BigIntegerField()
    tax_cents = models.BigIntegerField(default=0)
    package = models.CharField(max_length=50, blank=True, default="")
    save_card = models.BooleanField(default=False)
    card = models.ForeignKey(
        "billing.SavedCard", on_delete=models.PROTECT, null=True, related_name="top_ups"
    )
    session_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    session_url = models.TextField(blank=True, default="")
    intent_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    receipt_url = models.TextField(blank=True, default="")
    invoice_url = models.TextField(blank=True, default="")
    tax_calculation = models.CharField(max_length=120, blank=True, default="")
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    failure = models.CharField(max_length=64, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    polled_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount_cents__gt=0, tax_cents__gte=0),
                name="billing_topup_amounts",
            ),
            models.CheckConstraint(
                condition=Q(paid_at=None) | Q(status="paid"), name="billing_topup_paid_when"
            ),
            models.UniqueConstraint(
                fields=["workspace"],
                condition=Q(method="auto", status="pending"),
                name="billing_topup_one_open_auto",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-id"], name="billing_topup_page"),
            models.Index(fields=["id"], condition=Q(status="pending"), name="billing_topup_open"),
            models.Index(
                fields=["fingerprint"], condition=~Q(fingerprint=""), name="billing_topup_of_card"
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def total_cents(self) -> int:
        """What is charged."""
        return self.amount_cents + self.tax_cents

    @property
    def amount_nanos(self) -> int:
        """What is credited, in the ledger's unit."""
        return self.amount_cents * 10**7

    @property
    def tax_nanos(self) -> int:
        """The tax on top of it, in the ledger's unit."""
        return self.tax_cents * 10**7

    @property
    def total_nanos(self) -> int:
        """What is charged, in the ledger's unit."""
        return self.total_cents * 10**7


class SavedCard(models.Model):
    """A card that its owner let us charge again; its number is at the processor only."""

    public_id = models.CharField(max_length=40, unique=True, default=partial(ids.public, "card"))
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="cards")
    method_id = models.CharField(max_length=120, unique=True)
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    brand = models.CharField(max_length=32)
    last4 = models.CharField(max_length=4)
    exp_month = models.PositiveSmallIntegerField()
    exp_year = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    detached_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["fingerprint"], name="billing_savedcard_of_card"),
        ]

    def __str__(self) -> str:
        return f"{self.brand} {self.last4}"


class AutoTopUp(models.Model):
    """When a workspace's card is charged without anybody there; off until somebody wants it."""

    workspace = models.OneToOneField(
        Workspace, on_delete=models.CASCADE, primary_key=True, related_name="auto_top_up"
    )
    enabled = models.BooleanField(default=False)
    threshold_nanos = models.BigIntegerField()
    amount_cents = models.BigIntegerField()
    monthly_limit_cents = models.BigIntegerField()
    card = models.ForeignKey(SavedCard, on_delete=models.PROTECT, null=True, related_name="+")
    failures = models.PositiveSmallIntegerField(default=0)
    retry_after = models.DateTimeField(null=True)
    stopped_because = models.CharField(max_length=64, blank=True, default="")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["workspace_id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    threshold_nanos__gte=0,
                    amount_cents__gt=0,
                    monthly_limit_cents__gte=F("amount_cents"),
                ),
                name="billing_autotopup_amounts",
            ),
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(card__isnull=False),
                name="billing_autotopup_has_card",
            ),
        ]

    def __str__(self) -> str:
        return f"workspace #{self.workspace_id}"


class Refund(models.Model):
    """
    Money on its way back to a payer, of one payment.

    While it is pending the credited part is reserved on the paid account (FundHold); when it
    has gone the ledger books it. One that fails after that comes back.
    """

    class Status(models.TextChoices):
        """How far it is."""

        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    public_id = models.CharField(max_length=40, unique=True, default=partial(ids.public, "ref"))
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="refunds")
    external_id = models.CharField(max_length=120, unique=True, null=True, blank=True)
    amount_cents = models.BigIntegerField()
    credit_nanos = models.BigIntegerField()
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    failure = models.CharField(max_length=64, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    polled_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount_cents__gt=0, credit_nanos__gte=0), name="billing_refund_amounts"
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class FundHold(models.Model):
    """
    Paid money set aside for a refund under way; written by ``sql/funding.sql`` only.

    It counts in its account's pending debits as the holds of calls do.
    """

    source = models.UUIDField(primary_key=True)
    account = models.ForeignKey("billing.Account", on_delete=models.PROTECT, related_name="+")
    amount = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["created_at"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="billing_fundhold_amount"),
        ]

    def __str__(self) -> str:
        return str(self.source)


class Claim(models.Model):
    """
    Paid money that a processor takes back, or may: a dispute, a fraud warning, a refund made there.

    ``taken`` is what the paid account still had, ``owed`` the rest: a debt that later payments
    pay first, ``repaid`` of it so far.
    """

    class Kind(models.TextChoices):
        """Why it is taken."""

        DISPUTE = "dispute"
        WARNING = "warning"
        REFUND = "refund"

    class Status(models.TextChoices):
        """Whether it stands."""

        OPEN = "open"
        LOST = "lost"
        REVERSED = "reversed"

    external_id = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=16, choices=Kind)
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    top_up = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="claims")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="claims")
    amount_nanos = models.BigIntegerField()
    tax_nanos = models.BigIntegerField(default=0)
    taken = models.BigIntegerField()
    owed = models.BigIntegerField()
    repaid = models.BigIntegerField(default=0)
    froze = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)
    polled_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    taken__gte=0,
                    owed__gte=0,
                    repaid__gte=0,
                    repaid__lte=F("owed"),
                    amount_nanos=F("taken") + F("owed"),
                ),
                name="billing_claim_amounts",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["workspace", "id"],
                condition=Q(owed__gt=F("repaid")),
                name="billing_claim_debts",
            ),
        ]

    def __str__(self) -> str:
        return self.external_id


class StripeCustomer(models.Model):
    """Whom Stripe knows a workspace as."""

    workspace = models.OneToOneField(
        Workspace, on_delete=models.PROTECT, primary_key=True, related_name="stripe_customer"
    )
    customer_id = models.CharField(max_length=120, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["workspace_id"]

    def __str__(self) -> str:
        return self.customer_id


class StripeEvent(models.Model):
    """
    An event as it arrived, after its signature was verified; booked by a task, in any order.

    It names people, so its body goes after a while; its id stays and is never booked again.
    """

    class Outcome(models.TextChoices):
        """What came of it."""

        WAITING = "waiting"
        BOOKED = "booked"
        IGNORED = "ignored"

    id = models.CharField(max_length=120, primary_key=True)
    kind = models.CharField(max_length=120)
    object_id = models.CharField(max_length=120)
    api_version = models.CharField(max_length=40, blank=True)
    livemode = models.BooleanField()
    body: models.JSONField[Any, Any] = models.JSONField(null=True)
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    failure = models.CharField(max_length=200, blank=True, default="")
    received_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["received_at"]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"], condition=Q(outcome="waiting"), name="billing_stripeevent_due"
            ),
            models.Index(
                fields=["received_at"],
                condition=Q(body__isnull=False) & ~Q(outcome="waiting"),
                name="billing_stripeevent_bodies",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class StripeEntry(models.Model):
    """One of Stripe's balance transactions: what really moved there, with its fee."""

    id = models.CharField(max_length=120, primary_key=True)
    kind = models.CharField(max_length=60)
    amount_cents = models.BigIntegerField()
    fee_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    source_id = models.CharField(max_length=120, blank=True)
    at = models.DateTimeField()
    matched = models.BooleanField()

    class Meta:
        verbose_name_plural = "Stripe entries"
        ordering: ClassVar = ["-at"]

    def __str__(self) -> str:
        return self.id
