"""
Secrets at servers of others are replaced while calls are made and money comes in: the password
of mail, the keys of a chain's endpoints, the wallet itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from accounts import approvals
from accounts.actors import Staff
from accounts.models import Workspace
from billing import invariants, ledger, notices, topups
from billing.chains import config, wallets, watcher, xpub
from billing.chains.config import Chain
from billing.models import Alert, Deposit, DepositAddress
from config.settings import mail_server
from tests import pages, staffing
from tests.billing import bank
from tests.billing.chains import counter as counters
from tests.fakes import wallet
from tests.fakes.evm import FakeChain
from tests.fakes.gateway import GatewayServer
from tests.fakes.mail import MailServer
from tests.ops.test_rotation import counter, load  # noqa: F401 - a fixture
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    gateway,
    provider,
    shop,
    upstream,
)

IN_TIME_S = 30
STEP = 10**6
CUSTOMERS = 4
# The key in the addresses that the fake chain was configured with.
OLD = "secret-path"

pytestmark = pytest.mark.django_db(transaction=True)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + IN_TIME_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def meanwhile(*jobs: Callable[[], Any]) -> Iterator[list[Future[None]]]:
    """Do each job again and again, in a thread of its own, while the block runs."""
    over = threading.Event()

    def repeat(job: Callable[[], Any]) -> None:
        try:
            while not over.wait(0.01):
                job()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(repeat, job) for job in jobs]
        try:
            yield running
        finally:
            over.set()
    for each in running:
        each.result()


def settle_claims(server: MailServer) -> None:
    """
    Let the minutes pass after which what was not sent is tried again.

    First waits until what the server took is marked as sent: a sender that needs minutes for
    the mark counts as dead, and its mail is sent again.
    """
    sent = Alert.objects.exclude(sent_at=None)
    until(lambda: sent.count() == len(server.messages), "what was taken is marked as sent")
    with connection.cursor() as cursor:
        cursor.execute("update billing_alert set claimed_at = claimed_at - interval '4 minutes'")


class Mails:
    """Customers whose balance gets low, one after the other, and who top up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.homes: list[Workspace] = []
        self.told: list[str] = []
        self.paid = 0

    def use(self, url: str) -> None:
        """Be a process that was started with this EMAIL_URL."""
        for name, value in mail_server(url).items():
            setattr(self.settings, name, value)

    def add(self) -> None:
        """One more."""
        name = f"customer{len(self.homes)}"
        home = pages.home(pages.person(name))
        facts = {"balance": 1, "threshold": 10, "asset": "USD"}
        Alert.objects.create(workspace=home, kind="balance.low", subject="USD", facts=facts)
        self.homes.append(home)
        self.told.append(f"{name}@example.com")

    def pay(self) -> None:
        """A payment comes in, and its processor tells of it twice."""
        self.paid += 1
        intent = f"pi_{self.paid}"
        income = topups.Income(
            workspace_id=self.homes[0].pk,
            kind="top_up",
            source=topups.source_of(intent),
            house="clearing:stripe",
            amount=STEP,
            reference=intent,
        )
        assert topups.credit_once(income)
        assert not topups.credit_once(income)


def test_no_mail_is_lost_or_sent_twice_when_the_mail_servers_password_is_replaced(
    shop: Shop,  # noqa: F811
    gateway: GatewayServer,  # noqa: F811
    settings: Settings,
) -> None:
    mails = Mails(settings)
    mails.add()
    with MailServer("tollgate", "old") as server, ExitStack() as stack:
        mails.use(server.url("old"))
        statuses = stack.enter_context(load(gateway.url, secret=shop.secret))
        stack.enter_context(meanwhile(mails.pay, notices.deliver, notices.deliver))
        until(lambda: server.recipients == mails.told, "sent with the old one")
        # The old one is refused before the process is started with the new one.
        server.passwords = {"new"}
        for _ in range(3):
            mails.add()
        until(lambda: len(server.refused) >= 3, "each was tried")
        assert len(server.messages) == 1
        mails.use(server.url("new"))
        mails.add()
        until(lambda: len(server.messages) == 2, "new mail is sent at once")
        settle_claims(server)
        until(lambda: server.recipients == mails.told, "what was refused is sent later")
        settle_claims(server)
        before = mails.paid
        until(lambda: mails.paid > before, "money comes in")
    assert server.recipients == mails.told
    assert set(server.refused) == {"old"}
    assert not Alert.objects.filter(sent_at=None).exists()
    assert set(statuses) == {200}
    balance = ledger.balance(workspace_id=mails.homes[0].pk, asset="USD")
    assert balance.total == mails.paid * STEP
    assert not [found for found in invariants.check().findings if found.violations]


class Deposits:
    """Customers who pay to their addresses, watched by two processes."""

    def __init__(self, chain: FakeChain, settings: Settings) -> None:
        self.counter, self.settings = counters.Counter(chain), settings
        self.addresses: list[DepositAddress] = []
        self.paid = dict[int, int]()
        self.troubles = [0, 0]
        self.watched: list[Chain] = [self.started(OLD)] * 2

    def started(self, key: str) -> Chain:
        """The configuration of a process that was started with this key in CHAIN_RPC."""
        urls = [each.address(key) for each in self.counter.chain.endpoints]
        self.settings.CHAIN_RPC = {self.counter.chain.chain_id: urls}
        config.read.cache_clear()
        return config.chain(self.counter.chain.chain_id)

    def give(self) -> None:
        """One more customer asks for an address."""
        self.addresses.append(wallets.give(workspace=bank.customer().workspace))

    def pay(self) -> None:
        """Each customer pays."""
        for address in self.addresses:
            self.counter.chain.mine(self.counter.pay(address, STEP))
            self.paid[address.pk] = self.paid.get(address.pk, 0) + STEP
        self.counter.chain.finalise()

    def look(self) -> None:
        """One process after the other looks."""
        for process, chain in enumerate(self.watched):
            self.troubles[process] += "error" in watcher.watch(chain=chain).trouble

    def credited(self) -> dict[int, int]:
        """What the ledger has of each address."""
        return {each.pk: self.counter.credited(each) for each in self.addresses}

    def book(self) -> None:
        """Wait until all that was paid is booked."""
        many = sum(self.paid.values()) // STEP
        until(lambda: Deposit.objects.count() == many, "deposits are booked")


def replace_wallet() -> None:
    """Two members of staff put another account of the wallet in place of the first."""
    node = wallet.account(number=1).public
    offered = wallets.offer(
        text=wallet.xpub(node),
        path="m/44'/60'/1'",
        first_address=xpub.receiving_address(node, 0),
    )
    asks, decides = (staffing.member(f"{n}@example.com", superuser=True) for n in ("anna", "bert"))
    asked = wallets.ask_replacement(offered=offered, by=Staff(asks), reason="Lost")
    approvals.approve(approval=asked, by=Staff(decides))


def test_no_deposit_is_lost_or_booked_twice_when_endpoints_and_wallet_are_replaced(
    shop: Shop,  # noqa: F811
    gateway: GatewayServer,  # noqa: F811
    counter: counters.Counter,  # noqa: F811
    settings: Settings,
) -> None:
    ends = counter.chain.endpoints
    for each in ends:
        each.keys = {OLD}
    deposits = Deposits(counter.chain, settings)
    for _ in range(CUSTOMERS):
        deposits.give()
    with (
        load(gateway.url, secret=shop.secret) as statuses,
        meanwhile(deposits.look),
    ):
        deposits.pay()
        deposits.book()
        for each in ends:
            each.keys = {OLD, "new"}
        deposits.watched[1] = deposits.started("new")
        deposits.pay()
        deposits.book()
        # Revoked before either process is started anew, then before one of them is.
        for each in ends:
            each.keys = {"none"}
        deposits.pay()
        until(lambda: min(deposits.troubles) > 0, "no key is good")
        for each in ends:
            each.keys = {"new"}
        before = deposits.troubles[0]
        until(lambda: deposits.troubles[0] > before + 1, "the old key is refused")
        deposits.book()
        deposits.watched[0] = deposits.watched[1]
        deposits.pay()
        replace_wallet()
        for _ in range(CUSTOMERS):
            deposits.give()
        deposits.pay()
        deposits.book()
    assert deposits.credited() == deposits.paid
    assert [each.address for each in deposits.addresses] == [
        xpub.receiving_address(wallet.account(number=number).public, index)
        for number in range(2)
        for index in range(CUSTOMERS)
    ]
    assert set(statuses) == {200}
    assert counters.incidents() == []
    assert counters.books_balance()
