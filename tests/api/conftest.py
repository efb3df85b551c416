"""Two tenants who share nothing, and programs that call in their name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.http import HttpResponse
from django.test import Client

from accounts import invitations, keys, members, service_accounts, webhooks, workspaces
from accounts.models import (
    ApiKey,
    AuditEvent,
    Invitation,
    ServiceAccount,
    User,
    WebhookDelivery,
    Workspace,
)
from billing import grants
from billing.models import Usage
from billing.models_funding import SavedCard, TopUp
from proxy import exports
from proxy.models import Export
from tests import pages

BASE = "/api/v1/"
MANAGING = (
    *("keys:read", "keys:manage", "members:manage", "audit:read", "billing:manage"),
    "webhooks:manage",
)
READING = ("models:read", "usage:read", "billing:read")


@dataclass
class Program:
    """Something that calls the API, with a key or with somebody's session."""

    client: Client
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, /, **headers: str) -> HttpResponse:
        """Send one request."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.generic(  # type: ignore[return-value]  # the client's own kind
            method,
            path if path.startswith("/") else BASE + path,
            json.dumps({} if body is None else body) if method not in ("GET", "HEAD") else "",
            content_type="application/json",
            headers=self.headers | named,
        )

    def get(self, path: str, **headers: str) -> Any:
        """Read what is there."""
        return told(self.ask("GET", path, **headers))

    def post(self, path: str, body: Any = None, /, **headers: str) -> Any:
        """Make something."""
        return told(self.ask("POST", path, body, **headers))

    def patch(self, path: str, body: Any, /, **headers: str) -> Any:
        """Change something."""
        return told(self.ask("PATCH", path, body, **headers))


def told(response: Any) -> Any:
    """The body of an answer that is no refusal."""
    assert response.status_code < 300, (response.status_code, response.content)
    return json.loads(response.content) if response.content else None


def refusal(response: Any) -> dict[str, Any]:
    """The error of an answer that is one."""
    assert response.status_code >= 400, response.content
    error: dict[str, Any] = json.loads(response.content)["error"]
    assert error["code"] == response.status_code
    return error


def session(user: User, workspace: Workspace) -> Program:
    """A person who is signed in, in one of their workspaces."""
    client = Client()
    client.force_login(user)
    return Program(client, {"x-workspace-id": workspace.public_id})


def another_session(user: User) -> UserSession:
    """Another browser in which a person is signed in."""
    client = Client()
    client.force_login(user)
    # As allauth notes it when somebody signs in by its pages.
    return UserSession.objects.create(
        user=user, ip="127.0.0.9", session_key=client.session.session_key, user_agent="Other"
    )


def with_key(secret: str, **headers: str) -> Program:
    """A program with a key."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Program(Client(enforce_csrf_checks=True), {"Authorization": f"Bearer {secret}"} | named)


@dataclass
class Tenant:
    """One customer: an owner, a workspace, and one of everything in it."""

    owner: User
    workspace: Workspace
    key: ApiKey
    member: Any
    service_account: ServiceAccount
    invitation: Invitation
    usage: Usage
    export: Export
    delivery: WebhookDelivery
    top_up: TopUp
    card: SavedCard
    elsewhere: UserSession

    def program(self, *scopes: str) -> Program:
        """A program with a management key of the owner."""
        return with_key(self.secret(scopes or (*MANAGING, *READING)))

    def secret(self, scopes: Iterable[str]) -> str:
        """The text of a new key of the owner."""
        return keys.create(
            name="program",
            workspaces=[self.workspace],
            by=self.owner,
            user=self.owner,
            scopes=scopes,
        )[1]

    def session(self) -> Program:
        """The owner, signed in."""
        return session(self.owner, self.workspace)

    def addresses(self) -> dict[str, str]:
        """The ids of what there is, by the names they have in addresses."""
        return {
            "workspace_id": self.workspace.public_id,
            "key_id": self.key.public_id,
            "member_id": self.member.public_id,
            "service_account_id": self.service_account.public_id,
            "invitation_id": self.invitation.public_id,
            "request_id": f"{self.usage.id}",
            "export_id": self.export.public_id,
            "webhook_id": self.delivery.endpoint.public_id,
            "delivery_id": self.delivery.public_id,
            "top_up_id": self.top_up.public_id,
            "card_id": self.card.public_id,
            "event_id": self.event.public_id,
            "session_id": f"{self.elsewhere.pk}",
        }

    @property
    def event(self) -> AuditEvent:
        """What was written down first."""
        return AuditEvent.objects.filter(workspace=self.workspace).earliest("id")


def make_tenant(name: str) -> Tenant:
    """A customer with one of everything."""
    owner, colleague = pages.person(name), pages.person(f"{name}-colleague")
    workspace = workspaces.create(owner=owner, name=f"{name}'s", by=owner)
    member = members.add(workspace=workspace, user=colleague, role="viewer", by=owner)
    account = service_accounts.create(workspace=workspace, name="robot", role="developer", by=owner)
    invitation = invitations.create(
        workspace=workspace, email=f"{name}-friend@example.com", role="viewer", by=owner
    )
    key = pages.make_key(owner, workspace, name=f"{name}'s key")
    grants.grant(workspace=workspace, asset="USD", amount=10**9, reason="test", paid=True)
    usage = pages.closed_request(key, workspace)
    export = exports.create(
        workspace=workspace, kind="logs", query={}, rows_expected=None, by=owner
    )
    endpoint, _ = webhooks.create(
        workspace=workspace, url=f"https://{name}.example.com/", events=["key.created"], by=owner
    )
    delivery = webhooks.send_test(endpoint=endpoint, by=owner)
    return Tenant(
        *(owner, workspace, key, member, account, invitation, usage, export, delivery),
        top_up=TopUp.objects.create(
            workspace=workspace, method=TopUp.Method.CHECKOUT, amount_cents=1000
        ),
        card=SavedCard.objects.create(
            workspace=workspace, method_id=f"pm_{name}", exp_month=1, exp_year=2040
        ),
        elsewhere=known_by_number(another_session(owner)),
    )


def known_by_number(there: UserSession) -> UserSession:
    """The same with an id that nothing else has: a small number is part of many a text."""
    UserSession.objects.filter(pk=there.pk).update(id=there.pk + 987_600_000)
    return UserSession.objects.get(pk=there.pk + 987_600_000)


@pytest.fixture
def alice(db: None) -> Tenant:
    return make_tenant("alice")


@pytest.fixture
def bob(db: None) -> Tenant:
    return make_tenant("bob")
