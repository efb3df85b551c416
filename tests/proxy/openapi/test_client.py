"""A client generated from the committed document works against the running product."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.scopes import EITHER, MANAGEMENT
from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import Shop

FILE = Path(__file__).resolve().parents[3] / "static" / "openapi" / "management.json"
NAME = "tollgate_management_api_client"


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The client's package, importable."""
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")
    command = [
        *(sys.executable, "-W", "ignore", "-m", "openapi_python_client", "generate"),
        *("--path", str(FILE), "--meta", "none", "--config", str(config), "--fail-on-warning"),
        *("--output-path", str(tmp_path / NAME)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / NAME
    for name in [name for name in sys.modules if name.startswith(NAME)]:
        del sys.modules[name]


def operation(tag: str, name: str) -> Any:
    return importlib.import_module(f"{NAME}.api.{tag}.{name}")


class TestTheClient:
    def test_makes_changes_and_lists_keys(
        self, generated: Path, gateway: GatewayServer, shop: Shop
    ) -> None:
        _, secret = shop.new_key(scopes=sorted(MANAGEMENT | EITHER))
        made_client = importlib.import_module(NAME).AuthenticatedClient(
            base_url=gateway.url, token=secret, httpx_args={"trust_env": False}
        )
        with made_client as client:
            self._use(client)

    def _use(self, client: Any) -> None:
        models = importlib.import_module(f"{NAME}.models")
        wanted = models.NewKey.from_dict({"name": "made", "scopes": ["chat"], "daily_usd": "2.50"})

        made = operation("keys", "create_key").sync(client=client, body=wanted)
        assert made.key.startswith("sk-tg-")
        change = models.KeyChange.from_dict({"name": "changed", "version": made.version})
        changed = operation("keys", "update_key").sync(made.id, client=client, body=change)
        assert (changed.name, changed.daily_usd) == ("changed", "2.50")
        stale = operation("keys", "update_key").sync(made.id, client=client, body=change)
        assert stale.error.reason == "version_conflict"
        page = operation("keys", "list_keys").sync(client=client, limit=1)
        assert [page.data[0].id, page.has_more] == [made.id, True]
        money = operation("balances", "get_balances").sync(client=client)
        assert {each.asset: each.available for each in money.balances}["USD"] == "10.00"
