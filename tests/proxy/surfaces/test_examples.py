"""The lines of curl in docs/surfaces.md work as they are written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from accounts.models import Workspace
from proxy import demo
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import TOKEN, SandboxServer

PAGE = Path("docs/surfaces.md")
SECTIONS = {
    *("Chat completions", "Completions", "Embeddings", "Images", "Responses", "Generate"),
    *("Prototypes", "Models"),
}


def lines() -> list[tuple[str, str]]:
    """Return every line of curl with the section that it is in."""
    found, section = [], ""
    for line in PAGE.read_text("utf-8").splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if line.startswith("curl "):
            found.append((section, line))
    return found


class TestTheLinesOfCurl:
    def test_work(self, transactional_db: None, tmp_path: Path) -> None:
        assert {section for section, _ in lines()} == SECTIONS
        with SandboxServer(log_path=tmp_path / "calls.jsonl") as sandbox:
            seeded = demo.seed(previous={}, sandbox_url=sandbox.url, sandbox_token=TOKEN)
            workspace = Workspace.objects.get(public_id=seeded.workspace_id)
            with GatewayServer() as gateway:
                place = {
                    **{"BASE": gateway.url, "KEY": seeded.api_key, "PATH": os.environ["PATH"]},
                    "WORKSPACE": workspace.public_id,
                }
                for section, line in lines():
                    told = subprocess.run(
                        ["/bin/sh", "-c", line],
                        env=place,
                        capture_output=True,
                        text=True,
                        check=True,
                        timeout=20,
                    )
                    answer = json.loads(told.stdout)
                    assert "error" not in answer or answer["error"] is None, (section, answer)
