"""What was seen on EVM chains: deposits, what is under way, what went out, what is unclear."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Workspace
from billing.fields import UnitsField
from common import ids


class ExtendedKey(models.Model):
    """
    An account's extended public key (BIP-32), sealed: with one child's private key it would
    give away all others. New addresses are derived from the one that is not retired.
    """

    sealed = models.BinaryField()
    sealed_with = models.CharField(max_length=64)
    path = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64, unique=True)
    next_index = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # All rows that are not retired have the same null: there is one at most.
            models.UniqueConstraint(
                fields=["retired_at"],
                condition=Q(retired_at=None),
                nulls_distinct=False,
                name="billing_extendedkey_one_in_use",
            ),
            models.CheckConstraint(
                condition=Q(next_index__gte=0, next_index__lte=2**31),
                name="billing_extendedkey_not_hardened",
            ),
        ]

    def __str__(self) -> str:
        return f"extended key #{self.pk}"


class DepositAddress(models.Model):
    """A workspace's address on every EVM chain: for life, never given to another."""

    workspace = models.OneToOneField(
        Workspace, on_delete=models.PROTECT, related_name="deposit_address"
    )
    extended_key = models.ForeignKey(ExtendedKey, on_delete=models.PROTECT, related_name="+")
    index = models.BigIntegerField()
    address = models.CharField(max_length=42, unique=True)
    keep = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "deposit addresses"
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["extended_key", "index"], name="billing_depositaddress_index_once"
            ),
        ]

    def __str__(self) -> str:
        return self.address


class ChainCursor(models.Model):
    """Up to which block of a chain everything is booked; moves only after it is."""

    chain_id = models.BigIntegerField(primary_key=True)
    number = models.BigIntegerField()
    block_hash = models.CharField(max_length=66)
    head = models.BigIntegerField(default=0)
    # Up to which block balances of native money were looked at.
    native_number = models.BigIntegerField(null=True)
    scanned_at = models.DateTimeField(db_default=Now())
    rescanned_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["chain_id"]

    def __str__(self) -> str:
        return f"chain {self.chain_id} at {self.number}"


class ChainMovement(models.Model):
    """What every row about one movement on a chain says."""

    address = models.ForeignKey(DepositAddress, on_delete=models.PROTECT, related_name="+")
    chain_id = models.BigIntegerField()
    asset = models.CharField(max_length=64)
    # Empty for native money, which is found by the balance of a block.
    tx_hash = models.CharField(max_length=66, blank=True)
    ordinal = models.IntegerField(default=0)
    block_number = models.BigIntegerField()
    block_hash = models.CharField(max_length=66)
    amount = UnitsField()

    class Meta:
        abstract = True


def _once(name: str) -> list[models.BaseConstraint]:
    return [
        # Not the log's index in its block: a reorganisation changes that.
        models.UniqueConstraint(
            fields=["chain_id", "tx_hash", "ordinal"],
            condition=~Q(tx_hash=""),
            name=f"billing_{name}_log_once",
        ),
        models.UniqueConstraint(
            fields=["chain_id", "address", "asset", "block_number"],
            condition=Q(tx_hash=""),
            name=f"billing_{name}_balance_once",
        ),
        models.CheckConstraint(condition=Q(amount__gt=0), name=f"billing_{name}_positive"),
    ]


class Deposit(ChainMovement):
    """
    Money that arrived at an address and is final.

    ``amount`` is in the token's own smallest unit, ``units`` in that of the ledger (at most
    nine decimals). What is below the minimum waits for more; what needs a person's decision
    is suspended until it is released or rejected, and says why it was.
    """

    class State(models.TextChoices):
        """Where it is; it never goes back."""

        ACCUMULATING = "accumulating"
        SUSPENDED = "suspended"
        CREDITED = "credited"
        CONVERTED = "converted"
        KEPT = "kept"
        REJECTED = "rejected"

    class Doubt(models.TextChoices):
        """Why a person has to decide."""

        NONE = "", "nothing"
        LARGE = "large", "larger than is credited unseen"
        BLOCKED = "blocked", "a sender on this server's own list"
        LISTED = "listed", "a sender on the list of sanctions"
        UNSCREENED = "unscreened", "the list of sanctions gave no answer"
        UNSEEN = "unseen", "a contract sent it: its sender cannot be seen"
        CLOSED = "closed", "the workspace is closed"

    public_id = models.CharField(max_length=32, unique=True, default=partial(ids.public, "dep"))
    sender = models.CharField(max_length=42, blank=True)
    units = models.BigIntegerField(default=0)
    state = models.CharField(max_length=16, choices=State, default=State.ACCUMULATING)
    doubt = models.CharField(max_length=16, choices=Doubt, blank=True, default="")
    found_at = models.DateTimeField(db_default=Now())
    credited_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            *_once("deposit"),
            models.CheckConstraint(
                condition=Q(
                    state__in=["accumulating", "suspended", "rejected"], units=0, credited_at=None
                )
                | Q(
                    state__in=["credited", "converted", "kept"],
                    units__gte=0,
                    credited_at__isnull=False,
                ),
                name="billing_deposit_credited_or_not",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["address", "-id"], name="billing_deposit_page"),
            models.Index(
                fields=["id"], condition=Q(state="credited"), name="billing_deposit_to_convert"
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class Outflow(ChainMovement):
    """Money that left an address: a sweep, signed elsewhere."""

    recipient = models.CharField(max_length=42, blank=True)
    found_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [*_once("outflow")]

    def __str__(self) -> str:
        return f"{self.asset} {self.tx_hash or self.block_number}"


class Sighting(models.Model):
    """A deposit that is not final: shown, credits nothing; written anew at every look."""

    address = models.ForeignKey(DepositAddress, on_delete=models.CASCADE, related_name="+")
    chain_id = models.BigIntegerField()
    asset = models.CharField(max_length=64)
    tx_hash = models.CharField(max_length=66, blank=True)
    block_number = models.BigIntegerField()
    amount = UnitsField()
    confirmations = models.IntegerField()
    percent = models.SmallIntegerField()
    expected_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["chain_id"], name="billing_sighting_chain")]

    def __str__(self) -> str:
        return f"{self.asset} {self.tx_hash}"


class NativeBalance(models.Model):
    """What an address had of a chain's own money at the last final block looked at."""

    address = models.ForeignKey(DepositAddress, on_delete=models.PROTECT, related_name="+")
    chain_id = models.BigIntegerField()
    block_number = models.BigIntegerField()
    balance = UnitsField()
    nonce = models.BigIntegerField()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["chain_id", "address"], name="billing_nativebalance_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address_id} on {self.chain_id}"


class UnlistedToken(models.Model):
    """A token that is on no list and says that it arrived; it may be worthless, or not."""

    class Resolution(models.TextChoices):
        """What a person decided."""

        OPEN = "", "open"
        WORTHLESS = "worthless", "worthless: nothing is done"
        RETURNED = "returned", "sent back by hand"
        CREDITED = "credited", "listed now: what arrived is credited"

    address = models.ForeignKey(DepositAddress, on_delete=models.PROTECT, related_name="+")
    chain_id = models.BigIntegerField()
    contract = models.CharField(max_length=42)
    transfers = models.IntegerField(default=1)
    tx_hash = models.CharField(max_length=66)
    amount = models.CharField(max_length=78, help_text="Of the last transfer, as it was claimed.")
    first_block = models.BigIntegerField()
    block_number = models.BigIntegerField(help_text="Of the last transfer.")
    found_at = models.DateTimeField(db_default=Now())
    resolution = models.CharField(max_length=16, choices=Resolution, blank=True, default="")
    resolved_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["chain_id", "contract", "address"], name="billing_unlistedtoken_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contract} on {self.chain_id}"


class Quote(models.Model):
    """What one coin was worth in US dollars when markets were last asked."""

    symbol = models.CharField(max_length=16, primary_key=True)
    price = models.DecimalField(max_digits=30, decimal_places=12)
    source = models.CharField(max_length=200)
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["symbol"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(price__gt=0), name="billing_quote_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.price}"
