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
from pytest_django import Settings
from schemathesis import APIOperation, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from accounts import api_schema
from accounts.scopes import EITHER, MANAGEMENT
from tests.api.entries import MANAGEMENT as MATRIX
from tests.api.entries import PERSON
from tests.billing.stripe import payer
from tests.fakes.gateway import GatewayServer
from tests.fakes.stripe.process import FakeStripe
from tests.proxy.conftest import Shop
from tests.proxy.openapi.seeds import Seeds, chain, cookies

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
# No key may call these: a person's browser does. The last two end what the others are done in.
IN_A_BROWSER = {
    *(entry for entry, access in MATRIX.items() if access == (PERSON,)),
    ("POST", "workspaces/{workspace_id}/leave"),
    ("POST", "workspaces/{workspace_id}/close"),
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
    """A program."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def seeds(shop: Shop, settings: Settings, tmp_path: Path) -> Iterator[Seeds]:
    """What exists, with what takes payments and coins; Stripe would have understood all."""
    settings.TOPUP_ATTEMPTS_PER_HOUR = settings.TOPUP_NEW_CARDS_PER_DAY = 10**6
    settings.TOPUP_FIRST_DAILY_CENTS = settings.TOPUP_DAILY_CENTS = 10**9
    settings.STRIPE_SECRET_KEY = settings.STRIPE_API_BASE = ""
    settings.STRIPE_WEBHOOK_SECRETS = []
    with FakeStripe() as stripe, chain(settings, tmp_path) as coins:
        payer.configure(stripe)
        yield Seeds(shop, stripe, coins)
        assert stripe.do("state")["wrong"] == []


class Aim:
    """Makes right requests name what exists, sent by whom they are for."""

    def __init__(self, seeds: Seeds) -> None:
        self.seeds = seeds
        _, secret = seeds.shop.new_key(scopes=sorted(MANAGEMENT | EITHER))
        self.program = {"authorization": f"Bearer {secret}"}

    def __call__(self, case: AnyCase, *, right: bool) -> None:
        """Change a request; a wrong one stays as wrong as it was."""
        path = case.operation.path.removeprefix("/api/v1/")
        in_a_browser = (case.method.upper(), path) in IN_A_BROWSER
        for name in ("X-API-Key", "Authorization", "If-Match"):
            case.headers.pop(name, None)
        case.cookies.clear()
        case.headers.update(cookies(self.seeds.shop.user) if in_a_browser else self.program)
        if case.headers.get("x-workspace-id"):
            case.headers["x-workspace-id"] = self.seeds.workspace_id()
        if not right:
            return
        # A webhook before its delivery.
        for name in sorted(case.path_parameters, reverse=True):
            seed = f"passing_{name}" if path.endswith(("/leave", "/close")) else name
            case.path_parameters[name] = getattr(self.seeds, seed)()
        case.query.pop("cursor", None)
        if takes(case, "Idempotency-Key"):
            case.headers["Idempotency-Key"] = self.seeds.name()
        if isinstance(case.body, dict):
            self.seeds.correct(case.operation.definition.raw["operationId"], case.body)


def takes(case: AnyCase, header: str) -> bool:
    """Whether an operation has a header of its own."""
    return header in {each["name"] for each in case.operation.definition.raw.get("parameters", [])}


class TestTheManagementApi:
    def test_answers_as_documented(
        self, session: requests.Session, gateway: GatewayServer, seeds: Seeds
    ) -> None:
        aim, seen = Aim(seeds), Counter[tuple[str, bool]]()
        call: dict[str, Any] = {"base_url": gateway.url, "session": session, "timeout": 20}

        def ask(case: AnyCase) -> None:
            right = case.meta is None or case.meta.generation.mode.is_positive
            aim(case, right=right)
            response = case.call(**call)
            name = case.operation.definition.raw["operationId"]
            seen[name, response.status_code < 300] += 1
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            case.validate_response(response, checks=CHECKS)
            if right and response.status_code < 300:
                ask_again(case, response)

        def ask_again(case: AnyCase, first: Any) -> None:
            """What is sent twice is made once; what was changed meanwhile is not changed."""
            if takes(case, "Idempotency-Key"):
                again = case.call(**call)
                kept = (again.status_code, again.json(), again.headers["idempotent-replayed"])
                assert kept == (first.status_code, first.json(), ["true"]), case.as_curl_command()
            if takes(case, "If-Match"):
                case.headers["If-Match"] = '"0"'
                late = case.call(**call)
                told = (late.status_code, late.json()["error"]["reason"])
                assert told == (409, "version_conflict"), case.as_curl_command()

        for operation in operations():
            for mode in modes_of(operation):
                cases = operation.as_strategy(generation_mode=mode)
                QUIET(max_examples=4 if operation.body else 2)(given(case=cases)(ask))()
        assert [name for name, _ in seen if not seen[name, True]] == []
        assert len({name for name, _ in seen}) == len(list(operations()))


def modes_of(operation: APIOperation[Any, Any, Any, Any]) -> list[GenerationMode]:
    """How an operation can be called: nothing is wrong where nothing is sent."""
    takes = operation.body or operation.query or operation.path_parameters
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])]
