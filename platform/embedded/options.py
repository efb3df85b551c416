"""What the person running us asked for: HOST, PORT, DATA_DIR and addresses of servers."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.processes import ROOT
from embedded.refusal import Refusal

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared with what was asked for


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one run."""

    host: str
    port: int
    folder: Path
    given: Mapping[str, str]

    @classmethod
    def read(cls, *, environment: Mapping[str, str]) -> Options:
        """
        Read the choices from the environment.

        :raises Refusal: if PORT is no port
        """
        # An empty variable means the same as none.
        given = {name: value for name, value in environment.items() if value}
        port = given.get("PORT", "8000")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise Refusal(f"PORT must be a number from 1 to 65535, not {port!r}")
        folder = ROOT / Path(given.get("DATA_DIR", "var")).expanduser()
        return cls(given.get("HOST", "127.0.0.1"), int(port), folder, given)

    @property
    def logs(self) -> Path:
        """Where each program's output goes."""
        return self.folder / "logs"

    @property
    def mail(self) -> Path:
        """Where the demo's mail goes."""
        return self.folder / "mail"

    @property
    def base_url(self) -> str:
        """Where a browser on this machine finds us."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        host = f"[{host}]" if ":" in host else host
        return self.given.get("BASE_URL", f"http://{host}:{self.port}").rstrip("/")

    @property
    def allowed_hosts(self) -> str:
        """The names we answer to."""
        names = ["127.0.0.1", "localhost", "[::1]", socket.gethostname(), self.host]
        if self.host in EVERYWHERE:
            names += _own_addresses()
        return ",".join(
            dict.fromkeys(f"[{n}]" if ":" in n.strip("[]") else n for n in _bare(names))
        )

    def make_folders(self) -> None:
        """
        Make DATA_DIR and the folders in it.

        :raises OSError: if that is not possible
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in (self.logs, self.mail):
            place.mkdir(mode=0o700, exist_ok=True)


def _bare(names: list[str]) -> list[str]:
    return [name.strip("[]") for name in names]


def _own_addresses() -> list[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return []
    return [str(address[4][0]) for address in found]
