"""`make run`: the whole product on this machine, from nothing to a line of curl."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from embedded import demo, ports, processes, setup
from embedded.instance import Instance, stop_leftovers
from embedded.mailbox import Mailbox
from embedded.options import Options
from embedded.refusal import Interrupted, Refusal
from embedded.servers import Servers
from embedded.signals import Signals
from embedded.supervisor import POLL_S, Supervisor
from embedded.terminal import say

SERVER_WITHIN_S = 120.0
WEB_WITHIN_S = 90.0


def main() -> int:
    """Run until somebody wants us to stop."""
    # Everything under DATA_DIR is nobody else's business.
    os.umask(0o077)
    signals = Signals()
    try:
        serve(options=Options.read(environment=os.environ), signals=signals)
    except Refusal as refusal:
        print(f"make run: {refusal}", file=sys.stderr, flush=True)
        return 1
    except Interrupted:
        say("Stopped before it was up.")
        return 130
    return 0


def serve(*, options: Options, signals: Signals) -> None:
    """
    Start everything, look after it, stop it.

    :raises Refusal: if something is in the way
    :raises Interrupted: if somebody wants us to stop before everything is up
    """
    instance = claim(options=options)
    servers = Servers.choose(options=options)
    with supervised(options=options, instance=instance, signals=signals) as supervisor:
        for program in servers.programs():
            supervisor.start(program=program)
        for child in list(supervisor.children):
            supervisor.await_ready(name=child.program.name, within_s=SERVER_WITHIN_S)
        environment = servers.environment()
        setup.prepare(environment=environment, logs=options.logs, signals=signals)
        seeded = setup.seed(environment=environment, logs=options.logs, signals=signals)
        demo.write(path=options.folder / "demo.json", base_url=options.base_url, seeded=seeded)
        mailbox = Mailbox(folder=options.mail)
        start_product(supervisor=supervisor, options=options, servers=servers)
        say(demo.welcome(folder=options.folder))
        look_after(supervisor=supervisor, mailbox=mailbox, signals=signals)


def claim(*, options: Options) -> Instance:
    """
    Make DATA_DIR ours and the port free, or say why not.

    :raises Refusal: if another instance has the folder, or something has the port
    """
    try:
        options.make_folders()
        instance = Instance(folder=options.folder)
        instance.claim()
    except OSError as error:
        raise Refusal(f"cannot use DATA_DIR {options.folder}: {error.strerror}") from None
    if leftovers := instance.leftovers():
        say(f"Stopping what an earlier run left behind: {', '.join(leftovers)}")
        stop_leftovers(leftovers=leftovers)
    ports.require_free(host=options.host, port=options.port)
    return instance


@contextmanager
def supervised(*, options: Options, instance: Instance, signals: Signals) -> Iterator[Supervisor]:
    """Give a supervisor that stops everything it started, whatever happens."""

    def record() -> None:
        instance.record(base_url=options.base_url, children=supervisor.children)

    supervisor = Supervisor(logs=options.logs, signals=signals, on_change=record)
    try:
        yield supervisor
    finally:
        if signals.wishes:
            say("Stopping. Ctrl-C again ends it at once.")
        supervisor.stop()
        instance.clear()
    say("Stopped.")


def start_product(*, supervisor: Supervisor, options: Options, servers: Servers) -> None:
    """
    Start the product's processes and wait until they answer.

    :raises Refusal: if one of them does not come up
    :raises Interrupted: if somebody wants us to stop
    """
    environment = servers.environment()
    programs = (
        processes.sandbox(
            environment=environment, folder=options.folder, port=servers.sandbox_port
        ),
        processes.web(environment=environment, host=options.host, port=options.port),
        processes.worker(environment=environment),
        processes.beat(environment=environment, folder=options.folder),
    )
    for program in programs:
        supervisor.start(program=program)
    for program in programs:
        supervisor.await_ready(name=program.name, within_s=WEB_WITHIN_S)


def look_after(*, supervisor: Supervisor, mailbox: Mailbox, signals: Signals) -> None:
    """Keep everything running until somebody wants us to stop."""
    while not signals.wishes:
        supervisor.watch()
        for line in mailbox.new_lines():
            say(line)
        signals.wait(timeout_s=POLL_S)


if __name__ == "__main__":
    sys.exit(main())
