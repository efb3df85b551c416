"""What a workspace has, and how it came to it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.api import Call, Endpoint, Listing, Page, needs, operation
from accounts.scopes import Scope
from billing import ledger, statement
from billing.ledger import Balance
from billing.models import Account
from billing.statement import Line
from common import money

READ = needs(Scope.BILLING_READ)


def units(amount: int, asset: str, *, at_least: int = 2) -> str:
    """An amount of an asset as text: exact dollars, or whole tokens."""
    return money.usd(amount, at_least=at_least) if asset == ledger.USD else str(amount)


class BalanceSerializer(serializers.Serializer[Any]):
    """Money of one asset; held is set aside for calls in flight."""

    asset = serializers.ChoiceField(choices=list(ledger.ASSETS))
    available = serializers.CharField()
    held = serializers.CharField()
    paid = serializers.CharField()
    granted = serializers.CharField()
    total = serializers.CharField()


class BalancesSerializer(serializers.Serializer[Any]):
    """Every balance of a workspace."""

    workspace_id = serializers.CharField()
    frozen = serializers.BooleanField()
    balances = BalanceSerializer(many=True)


class TransactionSerializer(serializers.Serializer[Any]):
    """One line of the ledger; the calls of a day are one line."""

    id = serializers.CharField()
    kind = serializers.CharField(help_text="`usage` for the calls of a day.")
    at = serializers.DateTimeField()
    asset = serializers.ChoiceField(choices=list(ledger.ASSETS))
    amount = serializers.CharField(help_text="With a minus where it went.")
    balance = serializers.CharField(help_text="What was there after it.")
    reason = serializers.CharField()
    reference = serializers.CharField()
    source = serializers.CharField(allow_null=True)  # type: ignore[assignment]  # a field: it leaves the class
    requests = serializers.IntegerField(allow_null=True)

    def to_representation(self, instance: Line) -> dict[str, Any]:
        """Write one line."""
        return {
            "id": instance.id,
            "kind": instance.kind,
            "at": serializers.DateTimeField().to_representation(instance.at),
            "asset": instance.asset,
            "amount": units(instance.amount, instance.asset),
            "balance": units(instance.balance, instance.asset),
            "reason": instance.reason,
            "reference": instance.reference,
            "source": None if instance.source is None else str(instance.source),
            "requests": instance.requests,
        }


class TransactionFilter(Listing):
    """Which ledger is wanted."""

    asset = serializers.ChoiceField(choices=list(ledger.ASSETS), default=ledger.USD)


class BalancesView(Endpoint):
    """``/balances``"""

    @operation(name="get_balances", access=READ, answer=BalancesSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """What the workspace has."""
        workspace_id = call.workspace.pk
        homes = Account.objects.filter(workspace_id=workspace_id, kind=Account.Kind.PAID)
        return {
            "workspace_id": call.workspace.public_id,
            "frozen": homes.filter(asset=ledger.USD, frozen=True).exists(),
            "balances": [
                _balance(asset, ledger.balance(workspace_id=workspace_id, asset=asset))
                for asset in ledger.ASSETS
            ],
        }


class TransactionsView(Endpoint):
    """``/transactions``"""

    @operation(
        name="list_transactions",
        access=READ,
        answer=TransactionSerializer,
        query=TransactionFilter,
        paged=True,
    )
    def get(self, call: Call) -> Page:
        """The ledger of one asset with its running balance, the newest first."""
        asset = call.query["asset"]
        now = timezone.now()
        return statement.read(workspace=call.workspace, asset=asset, wanted=call.page, now=now)


def _balance(asset: str, balance: Balance) -> dict[str, str]:
    return {"asset": asset} | {
        name: units(getattr(balance, name), asset)
        for name in ("available", "held", "paid", "granted", "total")
    }
