"""Crypto: the address, what arrived, what is under way, and its way into dollars."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import versions
from accounts.api import Call, Endpoint, Page, Strict, UsdField, VersionField, needs, operation
from accounts.errors import Invalid
from accounts.scopes import Scope
from billing import ledger
from billing.chains import config, exchange, holdings, rates, wallets
from billing.models import Deposit
from common import ids, pagination
from common.errors import ApiError

READ = needs(Scope.BILLING_READ)
MANAGE = needs(Scope.BILLING_MANAGE)


class HoldingSerializer(serializers.Serializer[Any]):
    """One accepted asset; amounts in coins, exact."""

    asset = serializers.CharField()
    symbol = serializers.CharField()
    chain = serializers.CharField()
    chain_id = serializers.IntegerField()
    contract = serializers.CharField(help_text="`native` for the chain's own money.")
    minimum = serializers.CharField(help_text="Less waits until more arrives.")
    finality_s = serializers.FloatField(help_text="About how long it takes to be final.")
    pending = serializers.CharField(help_text="Seen, not final, not credited.")
    waiting = serializers.CharField(help_text="Final, below the minimum or being looked into.")
    received = serializers.CharField()
    converted = serializers.CharField(help_text="Of what was received, now US dollars.")
    balance = serializers.CharField()
    uncounted = serializers.CharField(
        help_text="Below the ledger's billionth of a coin; it counts with the next deposit."
    )


class UnderwaySerializer(serializers.Serializer[Any]):
    """A deposit that is not final: it credits nothing yet."""

    asset = serializers.CharField()
    symbol = serializers.CharField()
    amount = serializers.CharField()
    tx_hash = serializers.CharField(allow_blank=True)
    confirmations = serializers.IntegerField()
    percent = serializers.IntegerField()
    expected_at = serializers.DateTimeField(source="at")


class CryptoSerializer(serializers.Serializer[Any]):
    """The crypto side of a workspace."""

    available = serializers.BooleanField(help_text="Whether an address can be had now.")
    address = serializers.CharField(allow_null=True, help_text="On every chain listed; for life.")
    conversion = serializers.ChoiceField(choices=["automatic", "manual"])
    assets = HoldingSerializer(many=True)
    underway = UnderwaySerializer(many=True)
    version = serializers.CharField(help_text="Of the conversion: all that can be changed.")


class CryptoChangeSerializer(Strict):
    """How deposits from now on become dollars."""

    conversion = serializers.ChoiceField(choices=["automatic", "manual"])
    version = VersionField()


class DepositSerializer(serializers.Serializer[Any]):
    """A deposit that is final."""

    id = serializers.CharField(source="public_id")
    asset = serializers.CharField()
    symbol = serializers.CharField()
    chain = serializers.CharField()
    amount = serializers.CharField()
    state = serializers.ChoiceField(choices=Deposit.State.values)
    tx_hash = serializers.CharField(allow_blank=True)
    block_number = serializers.IntegerField()
    found_at = serializers.DateTimeField()
    credited_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Deposit) -> dict[str, Any]:
        """Write one deposit in coins."""
        shown = holdings.row(instance)
        moment = serializers.DateTimeField()
        return {
            "id": instance.public_id,
            "asset": instance.asset,
            "symbol": shown.symbol,
            "chain": shown.chain,
            "amount": shown.amount,
            "state": instance.state,
            "tx_hash": instance.tx_hash,
            "block_number": instance.block_number,
            "found_at": moment.to_representation(instance.found_at),
            "credited_at": (
                None
                if instance.credited_at is None
                else moment.to_representation(instance.credited_at)
            ),
        }


class NewConversionSerializer(Strict):
    """Coins to convert."""

    asset = serializers.CharField(max_length=64)
    amount = serializers.CharField(
        max_length=40, required=False, help_text="In coins; left out: all that can be."
    )


class ConversionSerializer(serializers.Serializer[Any]):
    """What a conversion gave."""

    received_usd = UsdField(source="received")
    spread_usd = UsdField(source="spread")


class CryptoView(Endpoint):
    """``/crypto``"""

    @operation(name="get_crypto", access=READ, answer=CryptoSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """The address, every accepted asset, and what is under way."""
        return _shown(call)

    @operation(
        name="update_crypto", access=MANAGE, body=CryptoChangeSerializer, answer=CryptoSerializer
    )
    def patch(self, call: Call) -> dict[str, Any]:
        """Convert deposits from now on by themselves, or keep them until you say so."""
        keep = call.body["conversion"] == "manual"
        exchange.set_keep(address=_give(call), keep=keep, by=call.by, version=call.version)
        return _shown(call)


class CryptoAddressView(Endpoint):
    """``/crypto/address``"""

    @operation(name="create_crypto_address", access=MANAGE, answer=CryptoSerializer, status=201)
    def post(self, call: Call) -> dict[str, Any]:
        """Give the workspace its address; asked again, the same."""
        _give(call)
        return _shown(call)


class DepositsView(Endpoint):
    """``/deposits``"""

    @operation(name="list_deposits", access=READ, answer=DepositSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """What arrived and is final, the newest first."""
        found = holdings.arrived(address=wallets.find(workspace=call.workspace))
        return Page(*pagination.by_id(found, call.page))


class CryptoConversionsView(Endpoint):
    """``/crypto/conversions``"""

    @operation(
        name="convert_crypto",
        access=MANAGE,
        body=NewConversionSerializer,
        answer=ConversionSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> Any:
        """Convert coins to US dollars at the price in force."""
        asset = call.body["asset"]
        try:
            return exchange.convert(
                workspace=call.workspace,
                asset=asset,
                units=_units(asset, call.body.get("amount")),
                source=ids.request_id(),
                by=call.by,
            )
        except exchange.UnknownAsset as refusal:
            raise Invalid(str(refusal.args[0]), param="asset") from None
        except (exchange.NothingToConvert, ledger.InsufficientFunds) as refusal:
            raise Invalid(str(refusal), param="amount") from None
        except rates.Unavailable as refusal:
            raise ApiError("crypto_unavailable", str(refusal)) from None


def _units(asset: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return config.base_units(text, config.asset_decimals(asset))
    except ValueError as error:
        raise Invalid(str(error), param="amount") from None


def _give(call: Call) -> Any:
    try:
        return wallets.give(workspace=call.workspace, by=call.by)
    except wallets.NoWallet as refusal:
        raise ApiError("crypto_unavailable", str(refusal)) from None


def _shown(call: Call) -> dict[str, Any]:
    if not config.configured():
        return {
            "available": False, "address": None, "conversion": "automatic", "assets": [],
            "underway": [], "version": versions.of(exchange.facts(keep=False)),
        }  # fmt: skip
    address = wallets.find(workspace=call.workspace)
    return {
        "available": wallets.available(),
        "address": address.address if address else None,
        "conversion": "manual" if address and address.keep else "automatic",
        "assets": holdings.holdings(address=address),
        "underway": holdings.underway(address=address) if address else [],
        "version": versions.of(exchange.facts(keep=bool(address and address.keep))),
    }
