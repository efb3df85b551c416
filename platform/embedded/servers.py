"""The embedded servers of one run, and the environment that leads to them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from embedded import environment, ports, postgres, redis
from embedded.options import Options
from embedded.processes import ROOT
from embedded.program import Program

OURS = ("DATABASE_URL", "REDIS_URL", "SANDBOX_URL", "BASE_URL", "ALLOWED_HOSTS", "DEMO")
GIVEN_SERVERS = {"DATABASE_URL": 5432, "REDIS_URL": 6379}


@dataclass(frozen=True, slots=True)
class Servers:
    """Which servers are ours; ports and secrets are kept in DATA_DIR/.env."""

    options: Options
    values: dict[str, str]
    sandbox_port: int

    @classmethod
    def choose(cls, *, options: Options) -> Servers:
        """
        Choose ports, the same ones as last time if they are free, and write them down.

        :raises Refusal: if an address was given and nobody answers there
        """
        for name, standard_port in GIVEN_SERVERS.items():
            if address := urlsplit(options.given.get(name, "")).hostname:
                port = _port(options.given[name]) or standard_port
                ports.require_answer(name=name, host=address, port=port)
        path = options.folder / ".env"
        before = environment.read(path=path)
        values = environment.with_secrets(
            {name: value for name, value in before.items() if name not in OURS}
        )
        sandbox_port = ports.choose(preferred=_port(before.get("SANDBOX_URL")))
        values |= {
            "DEMO": "true",
            "BASE_URL": options.base_url,
            "ALLOWED_HOSTS": options.allowed_hosts,
            "SANDBOX_URL": f"http://{ports.LOOPBACK}:{sandbox_port}",
        }
        if "DATABASE_URL" not in options.given:
            port = ports.choose(preferred=_port(before.get("DATABASE_URL")))
            values["DATABASE_URL"] = postgres.url(password=values["POSTGRES_PASSWORD"], port=port)
        if "REDIS_URL" not in options.given:
            port = ports.choose(preferred=_port(before.get("REDIS_URL")))
            values["REDIS_URL"] = redis.url(password=values["REDIS_PASSWORD"], port=port)
        environment.write(path=path, values=values)
        return cls(options, values, sandbox_port)

    def programs(self) -> list[Program]:
        """
        Return the servers to start: those for which no address was given.

        :raises Refusal: if one of them cannot be made or found
        """
        found: list[Program] = []
        if port := _port(self.values.get("REDIS_URL")):
            password = self.values["REDIS_PASSWORD"]
            folder = self.options.folder / "redis"
            found.append(redis.program(folder=folder, password=password, port=port))
        if port := _port(self.values.get("DATABASE_URL")):
            password = self.values["POSTGRES_PASSWORD"]
            folder = self.options.folder / "postgres"
            found.append(postgres.program(folder=folder, password=password, port=port))
        return found

    def environment(self) -> dict[str, str]:
        """Return the environment of the product's processes; what was given by hand wins."""
        return {
            **self.values,
            **self.options.given,
            "DATA_DIR": str(self.options.folder),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT / "platform"),
            "PYTHONUNBUFFERED": "1",
        }


def _port(url: str | None) -> int | None:
    return urlsplit(url).port if url else None
