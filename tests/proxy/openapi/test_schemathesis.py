"""
Requests made from the OpenAPI document, right and wrong ones, against the real gateway.

Nothing of it may make the gateway fail, and nothing it answers may be missing in the document.
"""

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
from hypothesis import HealthCheck, Phase, given
from schemathesis import APIOperation, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from accounts.models import Tier
from accounts.scopes import INFERENCE
from billing import grants, invariants
from proxy import catalogue_changes, demo
from proxy.catalogue_file import CatalogueFile
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import TOKEN, SandboxServer
from tests.proxy.conftest import Shop, hello

FILE = Path(__file__).resolve().parents[3] / "static" / "openapi" / "gateway.json"
SCHEMA = schemathesis.openapi.from_dict(json.loads(FILE.read_text()))
ECHO = "sandbox/echo"
MODELS = {"embeddings": "sandbox/embedding", "images/generations": "sandbox/image"}
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
# The operations of one name under both bases, as /v1 is all but the same as /api/v1.
PLACES: dict[str, list[APIOperation[Any, Any, Any, Any]]] = {}
for found in SCHEMA.get_all_operations():
    assert isinstance(found, Ok), found
    place = found.ok().path.replace("/api/v1/", "/v1/")
    PLACES.setdefault(place, []).append(found.ok())


@pytest.fixture
def secret(shop: Shop, tmp_path: Path) -> Iterator[str]:
    """A key for every surface that is in no hurry and not poor; the sandbox serves it."""
    Tier.objects.update(max_rpm=1_000_000)
    with SandboxServer(log_path=tmp_path / "sandbox-calls.jsonl") as sandbox:
        provider = demo.sandbox_provider(base_url=f"{sandbox.url}/v1", token=TOKEN)
        models = demo.sandbox_models()
        catalogue_changes.apply(file=CatalogueFile(providers=[provider], models=models))
        grants.grant(workspace=shop.workspace, asset="TOK", amount=10**9, reason="test", paid=True)
        shop.fund("90")
        _, secret = shop.new_key(scopes=sorted(INFERENCE), rpm=1_000_000)
        yield secret


@pytest.fixture
def session(secret: str, gateway: GatewayServer) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["authorization"] = f"Bearer {secret}"
        yield session


class Aim:
    """Makes random requests name what exists, where the name is right by its form."""

    def __init__(self, session: requests.Session, url: str, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        said = json.dumps(hello(ECHO))
        self.receipt = session.post(f"{url}/v1/chat/completions", data=said).json()["id"]
        self.generation = session.post(f"{url}/api/v2/generate", data=said).json()["id"]

    def __call__(self, case: AnyCase, *, right: bool) -> None:
        """Change a request; a wrong one stays as wrong as it was."""
        for name in ("X-API-Key", "Authorization"):
            case.headers.pop(name, None)
        if case.headers.get("x-workspace-id"):
            case.headers["x-workspace-id"] = self.workspace_id
        if right and case.query.get("id"):
            made = self.generation if case.path.endswith("/status") else self.receipt
            case.query["id"] = made
        if right and "id" in case.path_parameters:
            case.path_parameters["id"] = "sandbox/echo"
        if isinstance(case.body, dict):
            self._name_models(case.path, case.body, right=right)

    def _name_models(self, path: str, body: dict[str, Any], *, right: bool) -> None:
        if isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 128:
            body["model"] = next((MODELS[end] for end in MODELS if path.endswith(end)), ECHO)
        if right:
            for name in ("models", "provider"):
                body.pop(name, None)


@pytest.fixture
def aim(session: requests.Session, gateway: GatewayServer, shop: Shop) -> Aim:
    return Aim(session, gateway.url, shop.workspace.public_id)


@pytest.mark.parametrize("path", sorted(PLACES))
class TestTheGateway:
    def test_answers_as_documented(
        self, session: requests.Session, gateway: GatewayServer, aim: Aim, path: str
    ) -> None:
        seen: Counter[tuple[bool, int]] = Counter()

        def ask(case: AnyCase) -> None:
            right = case.meta is None or case.meta.generation.mode.is_positive
            aim(case, right=right)
            response = case.call(base_url=gateway.url, session=session, timeout=20)
            seen[right, response.status_code] += 1
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            case.validate_response(response, checks=CHECKS)

        for operation in PLACES[path]:
            count = (15 if operation.body else 5) if operation.path == path else 3
            for mode in modes_of(operation):
                cases = operation.as_strategy(generation_mode=mode)
                QUIET(max_examples=count)(given(case=cases)(ask))()
        assert seen[True, 200] > 0
        assert invariants.check().ok


def modes_of(operation: APIOperation[Any, Any, Any, Any]) -> list[GenerationMode]:
    """Return how an operation can be called: nothing is wrong where nothing is sent."""
    takes = operation.body or operation.query or operation.path_parameters
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])]
