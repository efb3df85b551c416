"""The management API is what its OpenAPI document says: right and wrong requests, a real server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, Phase, given
from schemathesis import APIOperation, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from accounts import api_schema, invitations, keys, members, service_accounts, signup, webhooks
from accounts.models import AuditEvent, WebhookEndpoint
from accounts.scopes import EITHER, MANAGEMENT
from billing.models_funding import TopUp
from billing.models_tokens import TokenPackage
from common import ids
from proxy import api_exportkinds, exports
from proxy.models import Export
from tests import pages
from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import Shop

FILE = Path(__file__).resolve().parents[3] / "static" / "openapi" / "management.json"
WRITTEN: dict[str, Any] = json.loads(FILE.read_text())
SCHEMA = schemathesis.openapi.from_dict(WRITTEN)
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
QUIET = partial(
    hypothesis.settings,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
AnyCase = schemathesis.Case[Any]
# A program cannot do it, or there is nothing yet to do it with.
NEVER_WELL = {
    "accept_invitation",
    "create_top_up",
    "create_refund",
    "create_crypto_address",
    "update_crypto",
    "convert_crypto",
    "create_card_page",
    "delete_card",
    "create_billing_portal_page",
    "update_me",
    "get_my_data",
    "list_sessions",
    "end_session",
    "end_other_sessions",
}


def operations() -> Iterator[APIOperation[Any, Any, Any, Any]]:
    """Every operation of the document."""
    for found in SCHEMA.get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


class TestTheFile:
    def test_is_what_the_code_says(self) -> None:
        assert FILE.read_text() == api_schema.text(), "run: python manage.py management_openapi"

    def test_the_command_tells_whether_it_is_in_step(self, tmp_path: Path, settings: Any) -> None:
        call_command("management_openapi", check=True)
        settings.BASE_DIR = tmp_path

        with pytest.raises(CommandError, match="not in step"):
            call_command("management_openapi", check=True)
        call_command("management_openapi")
        call_command("management_openapi", check=True)

    def test_is_3_1_and_public(self, client: Any, db: None) -> None:
        response = client.get("/openapi/management.json")

        assert response.json() == WRITTEN
        assert WRITTEN["openapi"] == "3.1.0"


@pytest.fixture
def session(shop: Shop, gateway: GatewayServer) -> Iterator[requests.Session]:
    """A program that may do everything."""
    _, secret = shop.new_key(scopes=sorted(MANAGEMENT | EITHER))
    with requests.Session() as session:
        session.trust_env = False
        session.headers["authorization"] = f"Bearer {secret}"
        yield session


class Aim:
    """Makes right requests name what exists; what is used up is made anew."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.usage = pages.closed_request(shop.key, shop.workspace)
        TokenPackage.objects.create(slug="small", name="Small", tokens=10, price_nanos=10**6)
        self.emails = iter(range(10_000))

    def __call__(self, case: AnyCase, *, right: bool) -> None:
        """Change a request; a wrong one stays as wrong as it was."""
        for name in ("X-API-Key", "Authorization", "If-Match"):
            case.headers.pop(name, None)
        case.cookies.clear()
        if case.headers.get("x-workspace-id"):
            case.headers["x-workspace-id"] = self.shop.workspace.public_id
        if not right:
            return
        # A workspace has few of them.
        WebhookEndpoint.objects.all().delete()
        # A webhook before its delivery.
        for name in sorted(case.path_parameters, reverse=True):
            case.path_parameters[name] = getattr(self, name)()
        case.query.pop("cursor", None)
        if isinstance(case.body, dict):
            self._body(case.body)

    def _body(self, body: dict[str, Any]) -> None:
        for name in ("version", "expires_at", "workspaces", "service_account_id", "external_id"):
            body.pop(name, None)
        right: dict[str, Any] = {
            "name": f"n{next(self.emails)}",
            "scopes": ["chat"],
            "models": None,
            "rpm": 1,
            "ips": [],
            "role": "viewer",
            "email": f"e{next(self.emails)}@example.com",
            "package": "small",
            "price_usd": "0.001",
            "daily_usd": "1",
            "monthly_usd": "1",
            "low_balance_usd": "1",
            "filter": {},
            "amount_usd": "20",
            "threshold_usd": "5",
            "monthly_limit_usd": "100",
            "enabled": False,
            "card": None,
            "url": "https://hooks.example.com/in",
        }
        body.update({name: right[name] for name in right if name in body})
        if "kind" in body:
            body["filter"] = {}

    def top_up_id(self) -> str:
        """A payment that is asked for."""
        made = TopUp.objects.create(
            workspace=self.shop.workspace, method=TopUp.Method.CHECKOUT, amount_cents=1000
        )
        return made.public_id

    def card_id(self) -> str:
        """A card that nobody saved: cards are not taken here."""
        return "card_1"

    def session_id(self) -> str:
        """A session, which no key has."""
        return "1"

    def workspace_id(self) -> str:
        """The workspace."""
        return self.shop.workspace.public_id

    def key_id(self) -> str:
        """A key."""
        return self.shop.new_key(scopes=["chat"])[0].public_id

    def member_id(self) -> str:
        """A member."""
        user = signup.register(email=f"m{next(self.emails)}@example.com", password="a-long-pass-1")
        return members.add(
            workspace=self.shop.workspace, user=user, role="viewer", by=None
        ).public_id

    def service_account_id(self) -> str:
        """A service account."""
        name = f"robot {next(self.emails)}"
        return service_accounts.create(
            workspace=self.shop.workspace, name=name, role="viewer", by=None
        ).public_id

    def invitation_id(self) -> str:
        """An open invitation."""
        email = f"i{next(self.emails)}@example.com"
        return invitations.create(
            workspace=self.shop.workspace, email=email, role="viewer", by=None
        ).public_id

    def event_id(self) -> str:
        """An event of the audit log."""
        keys.disable(key=self.shop.new_key(scopes=["chat"])[0], by=None)
        return AuditEvent.objects.filter(workspace=self.shop.workspace)[0].public_id

    def webhook_id(self) -> str:
        """A webhook."""
        self.webhook, _ = webhooks.create(
            workspace=self.shop.workspace,
            url="https://hooks.example.com/",
            events=["key.created"],
            by=None,
        )
        return self.webhook.public_id

    def delivery_id(self) -> str:
        """A delivery to the webhook that is named before it."""
        return webhooks.send_test(endpoint=self.webhook, by=None).public_id

    def request_id(self) -> str:
        """A request."""
        return ids.form("req_", self.usage.id)

    def export_id(self) -> str:
        """A file that is built."""
        Export.objects.all().delete()
        made = exports.create(
            workspace=self.shop.workspace, kind="logs", query={}, rows_expected=None, by=None
        )
        api_exportkinds.build(public_id=made.public_id)
        return made.public_id


class TestTheManagementApi:
    def test_answers_as_documented(
        self, session: requests.Session, gateway: GatewayServer, shop: Shop
    ) -> None:
        aim, seen = Aim(shop), Counter[tuple[str, bool]]()

        def ask(case: AnyCase) -> None:
            right = case.meta is None or case.meta.generation.mode.is_positive
            aim(case, right=right)
            response = case.call(base_url=gateway.url, session=session, timeout=20)
            name = case.operation.definition.raw["operationId"]
            seen[name, response.status_code < 300] += 1
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            case.validate_response(response, checks=CHECKS)

        for operation in operations():
            if operation.path.endswith(("/close", "/leave")):
                continue
            for mode in modes_of(operation):
                cases = operation.as_strategy(generation_mode=mode)
                QUIET(max_examples=4 if operation.body else 2)(given(case=cases)(ask))()
        never = {name for name, _ in seen if not seen[name, True]}
        assert never == NEVER_WELL


def modes_of(operation: APIOperation[Any, Any, Any, Any]) -> list[GenerationMode]:
    """How an operation can be called: nothing is wrong where nothing is sent."""
    takes = operation.body or operation.query or operation.path_parameters
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])]
