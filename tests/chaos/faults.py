"""What goes wrong in a run, one thing at a time, while callers go on calling."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from celery import current_app
from django.db import connection

from accounts import keys
from accounts.models import ApiKey
from billing.models import Hold
from proxy import spool
from proxy.models import Checkpoint
from tests.chaos.callers import Book, Plan, call_once
from tests.chaos.machine import Gateway, Stores, Worker, until
from tests.chaos.market import Market, ask

# The trapdoors of ``points``, which only a gateway can import.
POINTS = (
    "before_admit",
    "admit_committed",
    "before_dispatch",
    "after_first_byte",
    "before_settle",
    "settle_committed",
    "before_end",
)
STOPPED_FOR_S = 1.0
# Calls that are under way when a machine is lost, at a provider that cannot be asked later.
SLOW = {"tokens": 7, "pause_ms": 1500, "pad": ""}
SLOW_STREAM = {"tokens": 8, "pause_ms": 250, "pad": ""}
SLOW_CALLS, SLOW_STREAMS = 4, 2


@dataclass(frozen=True, slots=True)
class Closed:
    """While this lasted, by the database's clock, a customer could admit nothing."""

    workspace: str
    since: datetime
    until: datetime


@dataclass(slots=True)
class Scene:
    """Everything a fault may touch, and what it leaves to be checked."""

    stores: Stores
    gateways: tuple[Gateway, ...]
    worker: Worker
    market: Market
    book: Book
    hold_ttl_s: float
    rng: random.Random
    closed: list[Closed] = field(default_factory=list)


def now() -> datetime:
    """Return the database's time."""
    with connection.cursor() as cursor:
        cursor.execute("select billing_now()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def kill_gateway(scene: Scene, *, point: str) -> None:
    """A gateway dies at a point of its work."""
    scene.rng.choice(scene.gateways).die_at(point)


def restart_postgres(scene: Scene, *, away_s: float) -> None:
    """PostgreSQL dies and is away for a while."""
    connection.close()
    scene.stores.kill_postgres()
    time.sleep(away_s)
    scene.stores.start_postgres()


def outlive_holds(scene: Scene) -> None:
    """PostgreSQL is away for longer than a hold lives."""
    restart_postgres(scene, away_s=scene.hold_ttl_s + 1.0)


def lose_machine(scene: Scene) -> None:
    """
    A gateway's machine is lost with settlements on its disk until a sweep elsewhere has ended
    their calls; when it is back, it settles late what was given up without a charge, and corrects
    what was charged by a checkpoint.
    """
    gateway = scene.rng.choice(scene.gateways)
    far = scene.market.far
    plans = [Plan(far, "chaos/plain", stream=True, wish=SLOW_STREAM)] * SLOW_STREAMS
    plans += [Plan(far, "chaos/plain", stream=False, wish=SLOW)] * (SLOW_CALLS - SLOW_STREAMS)
    with ThreadPoolExecutor(SLOW_CALLS) as pool:
        calls: dict[int, Future[None]] = {}
        theirs = Hold.objects.filter(workspace_id=far.workspace_pk)
        heard = Checkpoint.objects.filter(bytes__gt=0, request_id__in=theirs.values("pk"))

        def under_way() -> bool:
            # Asked again where they fail: the gateway may still be starting after another fault.
            for n, plan in enumerate(plans):
                if n not in calls or calls[n].done():
                    calls[n] = pool.submit(call_once, plan, url=gateway.url, book=scene.book)
            return theirs.count() == SLOW_CALLS and heard.exists()

        until(under_way, what="slow calls")
        connection.close()
        scene.stores.kill_postgres()
    left = spool.kept_ids(gateway.spool)
    gateway.go_away()
    scene.stores.start_postgres()
    until(lambda: not Hold.objects.filter(pk__in=left).exists(), what="a sweep elsewhere")
    gateway.come_back()
    until(lambda: not spool.files(gateway.spool), what="the return of a machine")


def flush_redis(scene: Scene) -> None:
    """Redis forgets everything."""
    scene.stores.flush_redis()


def pause_redis(scene: Scene) -> None:
    """Redis answers nothing for a while."""
    scene.stores.pause_redis()
    time.sleep(1.5)
    scene.stores.resume_redis()


def kill_worker(scene: Scene) -> None:
    """The Celery worker dies with a task in hand."""
    for _ in range(3):
        current_app.send_task("proxy.tasks.sweep")
    time.sleep(scene.rng.uniform(0.05, 0.4))
    scene.worker.kill()


def lower_cap(scene: Scene) -> None:
    """A cap is lowered to below what is spent."""
    workspace = scene.market.lowered.workspace
    ask("set_limits", "--workspace", workspace, "--daily-usd", "0.000001")
    since = now()
    time.sleep(STOPPED_FOR_S)
    scene.closed.append(Closed(workspace, since, now()))
    ask("set_limits", "--workspace", workspace, "--daily-usd", "none")


def disable_key(scene: Scene) -> None:
    """A key is disabled, and enabled again later."""
    key = ApiKey.objects.get(public_id=scene.market.disabled.key_id)
    keys.disable(key=key, by=None)
    since = now()
    time.sleep(STOPPED_FOR_S)
    scene.closed.append(Closed(scene.market.disabled.workspace, since, now()))
    keys.enable(key=key, by=None)


FAULTS: dict[str, Callable[[Scene], None]] = {
    **{f"kill_{point}": partial(kill_gateway, point=point) for point in POINTS},
    "restart_postgres": partial(restart_postgres, away_s=0.3),
    "outlive_holds": outlive_holds,
    "lose_machine": lose_machine,
    "flush_redis": flush_redis,
    "pause_redis": pause_redis,
    "kill_worker": kill_worker,
    "lower_cap": lower_cap,
    "disable_key": disable_key,
}
