"""The gateway's OpenAPI document: in step with the code, complete, public."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from common.errors import TYPES
from common.reasons import REASON_LIST
from proxy.gateway import SURFACES
from proxy.openapi import document
from tests.fakes.gateway import GatewayServer

FILE = Path(__file__).resolve().parents[3] / "static" / "openapi" / "gateway.json"
WRITTEN: dict[str, Any] = json.loads(FILE.read_text())


class TestTheFile:
    def test_is_what_the_code_says(self) -> None:
        assert FILE.read_text() == document.text(), "run: python manage.py gateway_openapi"

    def test_the_command_tells_whether_it_is_in_step(self, tmp_path: Path, settings: Any) -> None:
        call_command("gateway_openapi", check=True)
        settings.BASE_DIR = tmp_path

        with pytest.raises(CommandError, match="not in step"):
            call_command("gateway_openapi", check=True)
        call_command("gateway_openapi")
        call_command("gateway_openapi", check=True)

    def test_is_public(self, gateway: GatewayServer) -> None:
        response = httpx.get(f"{gateway.url}/openapi/gateway.json", timeout=60, trust_env=False)

        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == WRITTEN


class TestTheDocument:
    def test_has_every_path_and_method_and_no_other(self) -> None:
        served = {(path, method.lower()) for path, (method, _) in SURFACES.items()}
        served |= {(f"{base}/models/{{id}}", "get") for base in document.BASES}

        assert {(path, method) for path, item in WRITTEN["paths"].items() for method in item} == (
            served
        )

    def test_every_reference_leads_somewhere_and_every_part_is_used(self) -> None:
        used = set(re.findall(r'"#/components/(\w+/[\w.-]+)"', FILE.read_text()))
        made = {
            f"{kind}/{name}"
            for kind, parts in WRITTEN["components"].items()
            for name in parts
            if kind != "securitySchemes"
        }

        assert used - made == set()
        # The 405 is no operation's own: it answers the methods that are not listed.
        assert made - used == {"responses/method_not_allowed"}

    def test_operations_have_names_of_their_own(self) -> None:
        names = [
            each["operationId"] for item in WRITTEN["paths"].values() for each in item.values()
        ]

        assert len(set(names)) == len(names)

    def test_knows_every_error(self) -> None:
        error = WRITTEN["components"]["schemas"]["ErrorBody"]["properties"]

        assert error["reason"]["enum"] == list(REASON_LIST)
        assert error["code"]["enum"] == list(TYPES)
        assert WRITTEN["components"]["responses"].keys() >= set(TYPES.values())

    def test_a_body_has_an_example(self) -> None:
        for item in WRITTEN["paths"].values():
            for each in item.values():
                for content in each.get("requestBody", {}).get("content", {}).values():
                    assert content["example"]["model"]
