"""Service accounts: listed, made, given another role, disabled, enabled."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import service_accounts, versions
from accounts.api import MEMBER, Call, Endpoint, Page, Strict, VersionField, needs, operation
from accounts.errors import Missing
from accounts.models import ServiceAccount
from accounts.scopes import SERVICE_ROLES, Scope
from common import pagination

MANAGE = needs(Scope.MEMBERS_MANAGE)


class ServiceAccountSerializer(serializers.Serializer[Any]):
    """A user of the workspace that is not a person."""

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=list(SERVICE_ROLES))
    disabled_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    version = serializers.SerializerMethodField()

    def get_version(self, row: ServiceAccount) -> str:
        """The version that a change is made to."""
        return versions.of(service_accounts.facts(row))


class NewServiceAccountSerializer(Strict):
    """A service account to make."""

    name = serializers.CharField(max_length=100)
    role = serializers.ChoiceField(choices=list(SERVICE_ROLES))


class ServiceAccountChangeSerializer(Strict):
    """What can be changed of a service account."""

    role = serializers.ChoiceField(choices=list(SERVICE_ROLES))
    version = VersionField()


class ServiceAccountsView(Endpoint):
    """``/service-accounts``"""

    @operation(
        name="list_service_accounts", access=MEMBER, answer=ServiceAccountSerializer, paged=True
    )
    def get(self, call: Call) -> Page:
        """Every service account of the workspace."""
        found = ServiceAccount.objects.filter(workspace=call.workspace)
        return Page(*pagination.by_id(found, call.page))

    @operation(
        name="create_service_account",
        access=MANAGE,
        body=NewServiceAccountSerializer,
        answer=ServiceAccountSerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> ServiceAccount:
        """Make a service account."""
        return service_accounts.create(
            workspace=call.workspace, name=call.body["name"], role=call.body["role"], by=call.by
        )


class ServiceAccountView(Endpoint):
    """``/service-accounts/{service_account_id}``"""

    @operation(name="get_service_account", access=MEMBER, answer=ServiceAccountSerializer)
    def get(self, call: Call, service_account_id: str) -> ServiceAccount:
        """One service account."""
        return _account(call, service_account_id)

    @operation(
        name="update_service_account",
        access=MANAGE,
        body=ServiceAccountChangeSerializer,
        answer=ServiceAccountSerializer,
    )
    def patch(self, call: Call, service_account_id: str) -> ServiceAccount:
        """Give it another role; its keys follow at once."""
        return service_accounts.change_role(
            account=_account(call, service_account_id),
            role=call.body["role"],
            by=call.by,
            version=call.version,
        )


class ServiceAccountDisableView(Endpoint):
    """``/service-accounts/{service_account_id}/disable``"""

    @operation(name="disable_service_account", access=MANAGE, answer=ServiceAccountSerializer)
    def post(self, call: Call, service_account_id: str) -> ServiceAccount:
        """Stop all its keys until it is enabled again."""
        return service_accounts.disable(account=_account(call, service_account_id), by=call.by)


class ServiceAccountEnableView(Endpoint):
    """``/service-accounts/{service_account_id}/enable``"""

    @operation(name="enable_service_account", access=MANAGE, answer=ServiceAccountSerializer)
    def post(self, call: Call, service_account_id: str) -> ServiceAccount:
        """Let its keys work again."""
        return service_accounts.enable(account=_account(call, service_account_id), by=call.by)


def _account(call: Call, service_account_id: str) -> ServiceAccount:
    found = ServiceAccount.objects.filter(workspace=call.workspace, public_id=service_account_id)
    account = found.first()
    if account is None:
        raise Missing("There is no such service account in this workspace.")
    return account
