"""
Tables of money, for reading. The ORM never writes a balance, a hold or a transfer.

Rows are written by the functions in ``billing/sql`` through ``billing.ledger``; the
database itself refuses what must not happen (``sql/tables.sql``). Amounts are integers:
nano-dollars where the asset is USD, whole tokens where it is TOK, pico-dollars in prices.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import ApiKey, Workspace
from billing.fields import UnitsField
from billing.models_alerts import Alert, AlertPreference
from billing.models_chains import (
    ChainCursor,
    Deposit,
    DepositAddress,
    ExtendedKey,
    NativeBalance,
    Outflow,
    Quote,
    Sighting,
    UnlistedToken,
)
from billing.models_checkpoint import LedgerCheckpoint
from billing.models_funding import (
    AutoTopUp,
    Claim,
    FundHold,
    Refund,
    SavedCard,
    StripeCustomer,
    StripeEntry,
    StripeEvent,
    TopUp,
)
from billing.models_price import Price
from billing.models_revision import Revision
from billing.models_staff import Customer, StaffStep
from billing.models_tokens import Conversion, TokenPackage

NEVER = "1970-01-01"
# The reason on a call whose provider told a usage that cannot be true.
CONTRADICTION = "usage_contradiction"


class Account(models.Model):
    """
    Money of one asset, of a workspace or of the house.

    A workspace's `paid` account is its home: whoever touches any of its money locks that
    row first. The USD home carries the workspace's caps and windows, in nano-dollars, for
    all assets. The counters of the house's accounts never move: no hot shared row.
    """

    class Kind(models.TextChoices):
        """The two kinds that a customer has; the house's kinds are free text."""

        PAID = "paid"
        GRANTED = "granted"

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, null=True, related_name="accounts", db_index=False
    )
    kind = models.CharField(max_length=64)
    asset = models.CharField(max_length=64)
    bounded = models.BooleanField(db_default=False)
    granted = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="home")
    credits_posted = models.BigIntegerField(db_default=0)
    debits_posted = models.BigIntegerField(db_default=0)
    debits_pending = models.BigIntegerField(db_default=0)
    floor = models.BigIntegerField(db_default=0)
    frozen = models.BooleanField(db_default=False)
    day = models.DateField(db_default=NEVER)
    day_used = models.BigIntegerField(db_default=0)
    month_used = models.BigIntegerField(db_default=0)
    held = models.BigIntegerField(db_default=0)
    day_cap = models.BigIntegerField(null=True)
    month_cap = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["id", "asset"], name="billing_account_id_asset"),
            models.UniqueConstraint(
                fields=["workspace", "kind", "asset"],
                nulls_distinct=False,
                name="billing_account_once",
            ),
        ]

    def __str__(self) -> str:
        owner = f"workspace #{self.workspace_id}" if self.workspace_id else "house"
        return f"{owner} {self.kind} {self.asset}"


class KeyMeter(models.Model):
    """
    What one key has used of its caps, in nano-dollars: used = spent + held.

    The windows' spending begins anew; ``spent`` is all that the key ever spent.
    """

    key = models.OneToOneField(
        ApiKey, on_delete=models.PROTECT, primary_key=True, related_name="meter"
    )
    day = models.DateField(db_default=NEVER)
    day_used = models.BigIntegerField(db_default=0)
    month_used = models.BigIntegerField(db_default=0)
    held = models.BigIntegerField(db_default=0)
    day_cap = models.BigIntegerField(null=True)
    month_cap = models.BigIntegerField(null=True)
    spent = models.BigIntegerField(db_default=0)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["key_id"]

    def __str__(self) -> str:
        return f"key #{self.key_id}"


class Lot(models.Model):
    """
    One grant: money that was given and may expire.

    Spending is allocated to lots in the order of their expiry, and only when the set of
    lots changes: between two changes the sum is enough.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="lots")
    amount = models.BigIntegerField()
    consumed = models.BigIntegerField(db_default=0)
    expired = models.BigIntegerField(db_default=0)
    expires_at = models.DateTimeField(null=True)
    reason = models.TextField()
    source = models.UUIDField(unique=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(
                fields=["expires_at"],
                condition=Q(amount__gt=F("consumed") + F("expired")),
                name="billing_lot_due",
            )
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    amount__gt=0,
                    consumed__gte=0,
                    expired__gte=0,
                    amount__gte=F("consumed") + F("expired"),
                ),
                name="billing_lot_within_amount",
            ),
        ]

    def __str__(self) -> str:
        return f"lot {self.pk}"


class Hold(models.Model):
    """Money set aside for one call in flight; its id is the request's. Closing deletes it."""

    id = models.UUIDField(primary_key=True)
    account_id = models.BigIntegerField()
    usd_account_id = models.BigIntegerField()
    workspace_id = models.BigIntegerField()
    key_id = models.BigIntegerField()
    asset = models.CharField(max_length=64)
    amount = models.BigIntegerField()
    granted = models.BigIntegerField(db_default=0)
    unit_nanos = models.BigIntegerField()
    day = models.DateField()
    process_id = models.BigIntegerField()
    model = models.TextField()
    price_id = models.BigIntegerField(null=True)
    # Where the call may go and at which prices, for whoever closes it instead of its process.
    legs = models.TextField(db_default="")
    # How the call was asked: the endpoint's name, and whether it streams.
    surface = models.TextField(db_default="")
    stream = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="billing_hold_expires_at"),
            models.Index(fields=["process_id"], name="billing_hold_process"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Transfer(models.Model):
    """
    One movement: one account debited, one credited, one amount, one asset; never changed.

    The table is made by ``sql/tables.sql``: its foreign keys take the asset along, so that
    money cannot cross from one asset to another.
    """

    id = models.BigIntegerField(primary_key=True)
    kind = models.TextField()
    source = models.UUIDField()
    debit = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    credit = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    asset = models.TextField()
    amount = UnitsField()
    reference = models.TextField()
    reason = models.TextField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
    )
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "billing_transfer"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.source}"


class Suspended(Transfer):
    """A transfer into suspense, as staff see it: money that arrived and is nobody's."""

    class Meta:
        proxy = True
        ordering: ClassVar = ["-id"]
        default_permissions: ClassVar = ["view"]
        verbose_name = "suspended payment"

    def __str__(self) -> str:
        return self.reference or str(self.source)


class Usage(models.Model):
    """
    One closed hold: what was asked, served, counted and charged.

    The table is partitioned by month (``sql/tables.sql``) and its key is (id, day).
    Django's admin refuses composite keys, so Django is told that id is the key.
    """

    class State(models.TextChoices):
        """How the hold ended."""

        SETTLED = "settled"
        VOIDED = "voided"
        EXPIRED = "expired"
        LATE = "late"

    class Source(models.TextChoices):
        """Where the counts come from, best first."""

        PROVIDER = "provider"
        LOOKUP = "lookup"
        CHECKPOINT = "checkpoint"
        COUNT = "count"
        NONE = "none"

    id = models.UUIDField(primary_key=True)
    day = models.DateField()
    workspace = models.ForeignKey(
        Workspace, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    key = models.ForeignKey(
        ApiKey, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    asset = models.TextField()
    unit_nanos = models.BigIntegerField()
    hold = models.BigIntegerField()
    granted = models.BigIntegerField()
    charged = models.BigIntegerField()
    uncollected = models.BigIntegerField()
    cost = models.BigIntegerField()
    state = models.TextField(choices=State)
    unknown = models.BooleanField()
    source = models.TextField(choices=Source)
    model = models.TextField()
    served = models.TextField()
    provider = models.TextField()
    price = models.ForeignKey(
        Price, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False
    )
    surface = models.TextField()
    stream = models.BooleanField()
    cancelled = models.BooleanField()
    status = models.SmallIntegerField(null=True)
    reason = models.TextField()
    input_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    pictures = models.BigIntegerField()
    picture_size = models.TextField()
    picture_quality = models.TextField()
    searches = models.BigIntegerField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField()
    first_byte_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)
    upstream_cost = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "billing_usage"
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "usage"

    def __str__(self) -> str:
        return str(self.id)


__all__ = [
    "Account",
    "Alert",
    "AlertPreference",
    "AutoTopUp",
    "ChainCursor",
    "Claim",
    "Conversion",
    "Customer",
    "Deposit",
    "DepositAddress",
    "ExtendedKey",
    "FundHold",
    "Hold",
    "KeyMeter",
    "LedgerCheckpoint",
    "Lot",
    "NativeBalance",
    "Outflow",
    "Price",
    "Quote",
    "Refund",
    "Revision",
    "SavedCard",
    "Sighting",
    "StaffStep",
    "StripeCustomer",
    "StripeEntry",
    "StripeEvent",
    "Suspended",
    "TokenPackage",
    "TopUp",
    "Transfer",
    "UnlistedToken",
    "Usage",
]
