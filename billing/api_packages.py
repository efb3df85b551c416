"""Platform tokens for dollars: what there is, and buying it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.api import Call, Endpoint, Page, Strict, UsdField, needs, operation
from accounts.errors import Invalid
from accounts.scopes import Scope
from billing import ledger, packages
from billing.models_tokens import TokenPackage
from billing.packages import Purchase
from common import ids
from common.errors import NO_RETRY, ApiError


class PackageSerializer(serializers.Serializer[Any]):
    """A package on sale."""

    slug = serializers.CharField()
    name = serializers.CharField()
    tokens = serializers.IntegerField()
    bonus_tokens = serializers.IntegerField()
    bonus_days = serializers.IntegerField(allow_null=True)
    price_usd = UsdField(source="price_nanos")


class NewPurchaseSerializer(Strict):
    """A package to buy."""

    package = serializers.SlugField(max_length=50)
    price_usd = UsdField(
        required=False,
        help_text="What you were shown; if it costs something else, nothing is done.",
    )


class PurchaseSerializer(serializers.Serializer[Any]):
    """What was bought."""

    package = serializers.CharField()
    tokens = serializers.IntegerField()
    bonus_tokens = serializers.IntegerField()
    price_usd = UsdField(source="price_nanos")


class PackagesView(Endpoint):
    """``/token-packages``"""

    @operation(
        name="list_token_packages",
        access=needs(Scope.BILLING_READ),
        answer=PackageSerializer,
        paged=True,
    )
    def get(self, call: Call) -> Page:
        """The packages on sale, the cheapest first; always one page."""
        found: list[TokenPackage] = packages.listed()
        return Page(found)


class PurchasesView(Endpoint):
    """``/token-purchases``"""

    @operation(
        name="buy_tokens",
        access=needs(Scope.BILLING_MANAGE),
        body=NewPurchaseSerializer,
        answer=PurchaseSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> Purchase:
        """Buy a package from the workspace's paid dollars."""
        try:
            return packages.buy(
                workspace=call.workspace,
                slug=call.body["package"],
                source=ids.request_id(),
                by=call.by,
                price_nanos=call.body.get("price_usd"),
            )
        except packages.NotForSale as refusal:
            raise Invalid(str(refusal.args[0]), param="package") from None
        except packages.PriceChanged as refusal:
            raise Invalid(str(refusal), param="price_usd") from None
        except packages.WorkspaceFrozen as refusal:
            raise ApiError("workspace_frozen", str(refusal)) from None
        except ledger.InsufficientFunds:
            raise ApiError(
                "insufficient_balance",
                "The paid dollars that no call holds do not cover the package.",
                headers=NO_RETRY,
                asset=ledger.USD,
            ) from None
