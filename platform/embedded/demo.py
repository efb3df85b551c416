"""The demo's logins and key: DATA_DIR/demo.json and the lines that greet a newcomer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from embedded.environment import write_private


def write(*, path: Path, base_url: str, seeded: Mapping[str, object]) -> None:
    """Write what a program needs to use the demo."""
    addresses = {"base_url": base_url, "openai_base_url": f"{base_url}/v1"}
    write_private(path=path, text=json.dumps({**addresses, **seeded}, indent=2) + "\n")


def welcome(*, folder: Path) -> str:
    """Return the lines to print once everything answers."""
    demo = json.loads((folder / "demo.json").read_text())
    staff = f"{demo['staff_email']}  {demo['staff_password']}"
    second = f"{demo['second_staff_email']}  {demo['second_staff_password']}"
    return f"""
Tollgate is running.

  dashboard   {demo["base_url"]}/
  demo login  {demo["email"]}  {demo["password"]}
  staff       {demo["base_url"]}/admin/
  staff login {staff}  TOTP secret {demo["staff_totp_secret"]}
  and another {second}  TOTP secret {demo["second_staff_totp_secret"]}
  API key     {demo["api_key"]}

Try it:

  {curl(demo=demo)}

All of this is in {folder / "demo.json"}; logs are in {folder / "logs"}. Ctrl-C stops everything.
"""


def curl(*, demo: Mapping[str, str]) -> str:
    """Return a command line that works as it stands."""
    body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hello, Tollgate!"}]}
    return shlex.join(
        [
            "curl",
            f"{demo['openai_base_url']}/chat/completions",
            "-H",
            f"Authorization: Bearer {demo['api_key']}",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps(body),
        ]
    )
