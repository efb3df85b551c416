"""The calls in the README and the pages run as they are written, with our key and address."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from accounts import keys
from accounts.models import ApiKey, Workspace
from embedded import demo as newcomer
from proxy import demo
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import TOKEN, SandboxServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/quickstart.md", "docs/disconnects.md", "docs/api.md")


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway that sells the sandbox's models, keys for it, and the folder to stand in."""

    folder: Path
    url: str
    key: str
    management_key: str
    request_id: str = "req_0"

    def run(self, *command: str) -> str:
        """Run what is written, with what it leaves out; return what it prints."""
        names = {
            **dict.fromkeys(("KEY", "TOLLGATE_KEY"), self.key),
            "MANAGEMENT_KEY": self.management_key,
            "REQUEST_ID": self.request_id,
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=names,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def here(self, text: str) -> str:
        """What is written, at our address, with our key."""
        for address in ("http://127.0.0.1:8000", "https://gateway.example"):
            text = text.replace(address, self.url)
        return text.replace("api_key=KEY", f"api_key={self.key!r}").replace("sk-tg-…", self.key)


@pytest.fixture
def place(transactional_db: None, tmp_path: Path) -> Iterator[Place]:
    with SandboxServer(log_path=tmp_path / "calls.jsonl") as sandbox:
        seeded = demo.seed(previous={}, sandbox_url=sandbox.url, sandbox_token=TOKEN)
        workspace = Workspace.objects.get(public_id=seeded.workspace_id)
        owner = ApiKey.objects.exclude(user=None).first()
        assert owner is not None
        assert owner.user is not None
        _, management = keys.create(
            name="managing",
            workspaces=[workspace],
            user=owner.user,
            by=owner.user,
            scopes=["keys:manage", "keys:read"],
        )
        with GatewayServer() as gateway:
            (tmp_path / "var").mkdir()
            newcomer.write(
                path=tmp_path / "var" / "demo.json",
                base_url=gateway.url,
                seeded=msgspec.to_builtins(seeded),
            )
            yield Place(tmp_path, gateway.url, seeded.api_key, management)


def blocks(page: str, *languages: str) -> list[str]:
    """What stands in the fences of a page."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return [text for language, text in fences if language in languages]


def called(page: str, place: Place) -> int:
    """Run every curl and every program of a page; return how many there were."""
    number = 0
    for text in blocks(page, "sh", "python"):
        if "import" in text and "OpenAI" in text:
            assert place.run(sys.executable, "-W", "ignore", "-c", place.here(text)).strip()
            number += 1
        elif "curl " in text:
            told = place.run("/bin/sh", "-c", place.here(text).replace("curl ", "curl -sS "))
            answer = json.loads(told)
            assert not answer.get("error"), (page, answer)
            number += 1
    return number


def test_every_call_that_is_written_works(place: Place) -> None:
    chat = "curl -sS -D - -o /dev/null http://127.0.0.1:8000/v1/chat/completions "
    chat += '-H "Authorization: Bearer $KEY" -H "Content-Type: application/json" -d '
    chat += '\'{"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hi"}]}\''
    head = place.run("/bin/sh", "-c", place.here(chat))
    found = re.search(r"x-request-id: (\S+)", head)
    assert found is not None, head
    known = replace(place, request_id=found[1])

    assert {page: called(page, known) for page in PAGES} == {
        "README.md": 2,
        "docs/quickstart.md": 2,
        "docs/disconnects.md": 1,
        "docs/api.md": 1,
    }
