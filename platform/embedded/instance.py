"""
One running instance: the lock on its DATA_DIR and run.json, which names its processes.

run.json lets other programs find ports and process ids, and lets the next run find and
stop what a killed supervisor left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from embedded.environment import write_private
from embedded.identity import Identity, identify
from embedded.program import Child, signal_group
from embedded.refusal import Refusal

# Who uses a server is stopped before it; those of one row are stopped at the same time.
STOP_ORDER = (("beat", "worker", "web"), ("sandbox",), ("redis",), ("postgres",))
NAMES = tuple(name for row in STOP_ORDER for name in row)
LEFTOVER_WITHIN_S = 20.0


class Instance:
    """The instance of one DATA_DIR."""

    def __init__(self, *, folder: Path) -> None:
        self.path = folder / "run.json"
        self._lock = folder / "run.lock"

    def claim(self) -> None:
        """
        Keep everybody else out of DATA_DIR for as long as this process lives.

        :raises Refusal: if another instance lives there
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = self._read()
            raise Refusal(
                f"DATA_DIR {self.path.parent} is in use by process "
                f"{_pids(other).get('supervisor', '?')} ({other.get('base_url', 'starting')}); "
                "stop it or choose another: make run PORT=8001 DATA_DIR=var-2"
            ) from None

    def record(self, *, base_url: str, children: Iterable[Child]) -> None:
        """Write who runs now."""
        running = list(children)
        supervisor = identify(pid=os.getpid())
        identities = {child.program.name: child.identity for child in running}
        if supervisor:
            identities["supervisor"] = supervisor
        document = {
            "base_url": base_url,
            "ports": {c.program.name: c.program.port for c in running if c.program.port},
            "pids": {name: identity.pid for name, identity in identities.items()},
            "started": {name: identity.started for name, identity in identities.items()},
        }
        write_private(path=self.path, text=json.dumps(document, indent=2) + "\n")

    def leftovers(self) -> dict[str, Identity]:
        """Return the processes of an earlier run that are proven to be still the same ones."""
        document = self._read()
        moments = document.get("started")
        if not isinstance(moments, dict):
            return {}
        listed = {
            name: Identity(pid, str(moments.get(name, ""))) for name, pid in _pids(document).items()
        }
        return {
            name: identity
            for name, identity in listed.items()
            if name in NAMES and identity.started and identity.is_alive
        }

    def clear(self) -> None:
        """Forget the processes: all of them were stopped."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, object]:
        try:
            document = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}


def stop_leftovers(*, leftovers: Mapping[str, Identity]) -> None:
    """
    Stop processes that are not our children, in order.

    :raises Refusal: if one of them does not end
    """
    for row in STOP_ORDER:
        there = {name: leftovers[name] for name in row if name in leftovers}
        for name, identity in there.items():
            _signal(pid=identity.pid, number=_wished(name=name))
        for name, identity in there.items():
            if _ends(identity=identity):
                continue
            signal_group(pid=identity.pid, number=_forced(name=name))
            if not _ends(identity=identity):
                raise Refusal(f"{name} of an earlier run (process {identity.pid}) does not stop")


def _wished(*, name: str) -> signal.Signals:
    return signal.SIGINT if name == "postgres" else signal.SIGTERM


def _forced(*, name: str) -> signal.Signals:
    return signal.SIGQUIT if name == "postgres" else signal.SIGKILL


def _signal(*, pid: int, number: signal.Signals) -> None:
    # To the program alone, which tells its own children: told twice, Celery hangs.
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _ends(*, identity: Identity) -> bool:
    deadline = time.monotonic() + LEFTOVER_WITHIN_S
    while identity.is_alive and time.monotonic() < deadline:
        time.sleep(0.05)
    return not identity.is_alive


def _pids(document: Mapping[str, object]) -> dict[str, int]:
    pids = document.get("pids")
    if not isinstance(pids, dict):
        return {}
    return {str(name): pid for name, pid in pids.items() if isinstance(pid, int)}
