"""
`make chaos`: money under fire, and the books afterwards.

    make chaos                                       the long run; writes docs/chaos.md
    make chaos ARGS="--rounds 3 --settlements 2000 --seed 7"

Two gateways sell to callers who hang up, repeat themselves and are refused, while in every
round each fault of ``faults`` happens once, in an order drawn from the seed: gateways die at
chosen points, PostgreSQL is killed, Redis forgets or stalls, a worker dies, caps fall, keys
are disabled. A sweep runs all the while. Then quiet, one sweep, and ``books`` compares the
ledger with the providers' own log and with what every caller was told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from embedded import environment  # noqa: E402
from tests.chaos import report  # noqa: E402
from tests.chaos.machine import GATEWAYS, Gateway, Stores, Worker, until  # noqa: E402

HOLD_TTL_S = 5
TIMES = {
    "HOLD_TTL_S": str(HOLD_TTL_S),
    "REQUEST_DEADLINE_S": "4",
    "HEARTBEAT_S": "0.5",
    "SILENT_AFTER_S": "2",
    "CHECKPOINT_S": "0.3",
    "DRAIN_TIMEOUT_S": "3",
    "FIRST_BYTE_TIMEOUT_S": "4",
    "IDLE_TIMEOUT_S": "4",
}
SWEEP_EVERY_S = 1.5


def main(arguments: Sequence[str]) -> int:
    """Run; 1 where anything is lost, wrong, left or otherwise amiss."""
    options = parse(arguments)
    sys.stdout.write(f"seed {options.seed}, {options.rounds} rounds\n")
    folder = Path(tempfile.mkdtemp(prefix="tollgate-chaos-"))
    folder.chmod(0o755)
    stores = Stores(folder)
    try:
        prepare(folder, stores)
        figures = Run(folder, stores, options).go()
    finally:
        stores.stop()
        if options.keep:
            sys.stdout.write(f"kept {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    if options.write:
        report.write(figures)
    return 0 if figures["ok"] else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Money under fire.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--settlements", type=int, default=20_000, help="acknowledged, at least")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--deal", action="store_true", help="deal the faults over all rounds")
    parser.add_argument("--write", action="store_true", help="write docs/chaos.md")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    return parser.parse_args(arguments)


def prepare(folder: Path, stores: Stores) -> None:
    """Make an empty product on these stores, and Django ready in this process."""
    os.environ |= environment.with_secrets({})
    os.environ |= TIMES | {
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
        "LOG_LEVEL": "WARNING",
        "DEMO": "false",
        "SANDBOX_URL": "http://127.0.0.1:9",
        "ALLOWED_HOSTS": "127.0.0.1",
    }
    for name in ("SPOOL_DIR", "EMAIL_URL", "BASE_URL", "DEBUG"):
        os.environ.pop(name, None)
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


class Run:
    """One run from the opening of the market to the audit."""

    def __init__(self, folder: Path, stores: Stores, options: argparse.Namespace) -> None:
        # What needs Django can be imported once it is set up.
        from tests.chaos import books, callers, faults, market, provider

        self.books, self.callers, self.faults = books, callers, faults
        self.folder = folder
        self.stores = stores
        self.options = options
        self.rng = random.Random(options.seed)
        self.book = callers.Book()
        self.providers = provider.Providers()
        self.market_module = market
        self.sweeping = threading.Event()
        self.done: list[str] = []

    def go(self) -> dict[str, Any]:
        """Run everything and return the figures."""
        began = time.monotonic()
        with self.providers:
            market = self.market_module.open_market(
                upstream_url=self.providers.url, folder=self.folder
            )
            gateways = tuple(Gateway(n, folder=self.folder) for n in range(GATEWAYS))
            worker = Worker(folder=self.folder)
            scene = self.faults.Scene(
                stores=self.stores,
                gateways=gateways,
                worker=worker,
                market=market,
                book=self.book,
                hold_ttl_s=HOLD_TTL_S,
                rng=self.rng,
            )
            sweeper = threading.Thread(target=self._sweep_on, daemon=True)
            try:
                until(lambda: all(g.answers() for g in gateways), what="the gateways' start")
                sweeper.start()
                asyncio.run(self._rounds(scene))
                self.sweeping.set()
                sweeper.join()
                self._quiet(scene)
                swept = self._sweep()
                verdict = self.books.Audit(
                    book=self.book,
                    records=self.providers.records,
                    closed=scene.closed,
                    market=market,
                    disks=[gateway.spool for gateway in gateways],
                ).check()
            finally:
                for process in (*gateways, worker):
                    process.stop()
        deaths = sum(gateway.deaths for gateway in gateways)
        return self._figures(verdict, swept, deaths, took_s=time.monotonic() - began)

    async def _rounds(self, scene: Any) -> None:
        callers = self.callers.Callers(
            seed=str(self.options.seed),
            market=scene.market,
            urls=[gateway.url for gateway in scene.gateways],
            book=self.book,
        )
        calling = asyncio.create_task(callers.run())
        try:
            with ThreadPoolExecutor(1) as thread:
                for number, plan in enumerate(self._plans(), start=1):
                    await self._round(number, plan, scene, thread, calling)
        finally:
            callers.stopping = True
            await calling

    def _plans(self) -> list[list[str]]:
        """Return the faults of each round: all of them, or all dealt over the rounds."""
        names = list(self.faults.FAULTS)
        if self.options.deal:
            self.rng.shuffle(names)
            return [names[n :: self.options.rounds] for n in range(self.options.rounds)]
        return [self.rng.sample(names, len(names)) for _ in range(self.options.rounds)]

    async def _round(
        self, number: int, plan: list[str], scene: Any, thread: ThreadPoolExecutor, calling: Any
    ) -> None:
        loop = asyncio.get_running_loop()
        rounds = self.options.rounds
        start = self.options.settlements * (number - 1) // rounds
        goal = self.options.settlements * number // rounds
        for step, name in enumerate(plan, start=1):
            await loop.run_in_executor(thread, self.faults.FAULTS[name], scene)
            self.done.append(name)
            await self._reach(start + (goal - start) * step // len(plan), calling)
        sys.stdout.write(f"round {number}: {self.book.acknowledged} acknowledged\n")
        sys.stdout.flush()

    async def _reach(self, acknowledged: int, calling: asyncio.Task[None]) -> None:
        """
        Wait until so many calls were answered; gateways must come back for that.

        :raises TimeoutError: they do not
        """
        async with asyncio.timeout(120):
            before = self.book.acknowledged
            while self.book.acknowledged < max(acknowledged, before + 5):
                if calling.done():
                    calling.result()
                await asyncio.sleep(0.02)

    def _sweep_on(self) -> None:
        """Sweep again and again, as beat does, whatever happens."""
        from django.db import connection
        from django.db.utils import Error

        while not self.sweeping.wait(SWEEP_EVERY_S):
            try:
                self._sweep()
            except Error:
                connection.close()

    def _sweep(self) -> dict[str, int]:
        import msgspec

        from proxy.sweep import sweep

        return dict(msgspec.structs.asdict(sweep()))

    def _quiet(self, scene: Any) -> None:
        """Wait until nothing moves any more; the last sweep is not ours."""
        from django.conf import settings
        from django.db import connection

        from proxy import keeping, spool
        from proxy.models import Generation

        # It may be one that PostgreSQL's last death has cut.
        connection.close()
        until(lambda: all(gateway.answers() for gateway in scene.gateways), what="quiet gateways")
        until(lambda: all(r.ended for r in self.providers.records), what="quiet providers")
        disks = [settings.SPOOL_DIR, *(gateway.spool for gateway in scene.gateways)]
        until(lambda: not any(map(spool.files, disks)), what="empty spools")
        for _ in range(20):
            keeping.tidy()
            if not Generation.objects.filter(status="pending").exists():
                break
            time.sleep(0.5)
        time.sleep(HOLD_TTL_S + 0.5)

    def _figures(
        self, verdict: Any, swept: dict[str, int], deaths: int, took_s: float
    ) -> dict[str, Any]:
        return {
            "ok": verdict.ok,
            "seed": self.options.seed,
            "rounds": self.options.rounds,
            "acknowledged": verdict.acknowledged,
            "lost": verdict.lost,
            "wrong": verdict.wrong,
            "holds_left": verdict.holds_left,
            "upstream_calls": verdict.upstream_calls,
            "exact": verdict.exact,
            "estimated": verdict.estimated,
            "unknown": verdict.unknown,
            "late": verdict.late,
            "corrected": verdict.corrected,
            "free": verdict.free,
            "last_sweep": swept,
            "gateway_deaths": deaths,
            "faults": {name: self.done.count(name) for name in self.faults.FAULTS},
            "outcomes": dict(self.book.outcomes.most_common()),
            "trouble": verdict.trouble[:40],
            "took_s": round(took_s),
        }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
