"""What the benchmark drives: nginx and wrk where they are installed, else our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.stub import BODY
from tests.fakes.ports import free_port

HERE = Path(__file__).parent
REQUEST = json.dumps(
    {
        "model": "bench/model",
        "messages": [{"role": "user", "content": "Is everything all right up there?"}],
        "max_tokens": 50,
    }
)
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""


@contextmanager
def upstream() -> Iterator[tuple[str, int]]:
    """Run a stub provider; give what it is and its port."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    with tempfile.TemporaryDirectory() as folder:
        if nginx:
            port = free_port()
            config = Path(folder) / "nginx.conf"
            config.write_text(NGINX.format(folder=folder, port=port, body=BODY.decode()))
            process = subprocess.Popen([nginx, "-c", str(config), "-p", folder], text=True)
        else:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "stub.py")], stdout=subprocess.PIPE, text=True
            )
            port = int(process.stdout.readline()) if process.stdout else 0
        try:
            yield ("nginx" if nginx else "stub.py"), port
        finally:
            process.terminate()
            process.wait()


def load(*, port: int, key: str, connections: int, seconds: float) -> dict[str, Any]:
    """Run a load in a process of its own; each connection asks again when it has its answer."""
    if wrk := shutil.which("wrk"):
        command = [
            *(wrk, "-t1", f"-c{connections}", f"-d{int(seconds)}s", "-s", str(HERE / "wrk.lua")),
            *(f"http://127.0.0.1:{port}/v1/chat/completions", "--", key, REQUEST),
        ]
    else:
        command = [sys.executable, str(HERE / "load.py"), str(port), key]
        command += [str(connections), str(seconds), REQUEST]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result | {"load": "wrk" if wrk else "load.py"}
