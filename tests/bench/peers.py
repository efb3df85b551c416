"""The gateways of others that this one is measured against, installed into ``.bench/``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".bench"
PORTKEY = "@portkey-ai/gateway"
# With a newer one its streams fail: https://github.com/Portkey-AI/gateway/issues/1389.
PORTKEY_PACKAGE = {"private": True, "overrides": {"@hono/node-server": "1.13.8"}}
MASTER_KEY = "sk-bench-master"
# As its documentation advises for production: no verbose log, nothing fetched at the start.
LITELLM_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_MASTER_KEY": MASTER_KEY,
}
TOOLS = {
    "wrk": "apt-get install wrk",
    "nginx": "apt-get install nginx-light",
    "node": "apt-get install nodejs npm",
    "npm": "apt-get install nodejs npm",
}
PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Missing(Exception):
    """A tool is not installed; the message names the command that installs it."""


def tool(name: str) -> str:
    """
    Return the path of a program.

    :raises Missing: it is not installed
    """
    found = shutil.which(name) or shutil.which(name, path=PLACES)
    if found is None:
        raise Missing(f"{name} is missing: {TOOLS[name]}")
    return found


def install_litellm() -> Path:
    """
    Install LiteLLM's proxy into an environment of its own; return its program.

    :raises subprocess.CalledProcessError: pip failed
    """
    program = FOLDER / "litellm" / "bin" / "litellm"
    if not program.exists():
        sys.stderr.write("Installing LiteLLM into .bench/litellm\n")
        subprocess.run([sys.executable, "-m", "venv", FOLDER / "litellm"], check=True)
        pip = FOLDER / "litellm" / "bin" / "pip"
        subprocess.run([pip, "install", "--quiet", "litellm[proxy]"], check=True)
    return program


def install_portkey() -> Path:
    """
    Install Portkey's gateway; return its script.

    :raises Missing: node or npm is not installed
    :raises subprocess.CalledProcessError: npm failed
    """
    folder = FOLDER / "portkey"
    script = folder / "node_modules" / PORTKEY / "build" / "start-server.js"
    if not script.exists():
        sys.stderr.write("Installing Portkey's gateway into .bench/portkey\n")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps(PORTKEY_PACKAGE))
        npm = [tool("npm"), "install", "--silent", "--no-audit", "--no-fund", PORTKEY]
        subprocess.run(npm, cwd=folder, check=True)
    return script


def litellm_command(*, port: int, upstream_port: int, stream_port: int) -> list[str]:
    """Return LiteLLM's command line, one worker; two models at the stubs."""
    config = FOLDER / "litellm.json"
    models = {"bench/model": upstream_port, "bench/stream": stream_port}
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": name,
                        "litellm_params": {
                            "model": "openai/stub",
                            "api_base": f"http://127.0.0.1:{at}/v1",
                            "api_key": "stub",
                            "input_cost_per_token": 0.000001,
                            "output_cost_per_token": 0.000002,
                        },
                    }
                    for name, at in models.items()
                ],
                "litellm_settings": {"set_verbose": False, "telemetry": False},
                "general_settings": {"master_key": MASTER_KEY},
            }
        )
    )
    flags = [f"--config={config}", f"--port={port}", "--host=127.0.0.1", "--num_workers=1"]
    return [str(install_litellm()), *flags]


def portkey_command(*, port: int) -> list[str]:
    """Return the command line of Portkey's gateway; where to call is in each request."""
    return [tool("node"), str(install_portkey()), f"--port={port}", "--headless"]


def portkey_headers(upstream_port: int) -> dict[str, str]:
    """Return what tells Portkey's gateway to call the stub."""
    return {
        "authorization": "Bearer stub",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
    }


def versions() -> dict[str, str]:
    """Return the versions of what is installed of others."""
    dists = metadata.distributions(
        path=[str(place) for place in FOLDER.glob("litellm/lib/python3*/site-packages")]
    )
    found = {one.metadata["Name"]: one.version for one in dists}
    found = {"LiteLLM": found["litellm"]} if "litellm" in found else {}
    package = FOLDER / "portkey" / "node_modules" / PORTKEY / "package.json"
    if package.exists():
        found["Portkey"] = json.loads(package.read_text())["version"]
    return found
