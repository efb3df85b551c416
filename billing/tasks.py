"""What beat starts; each task calls one function and may run twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from celery import shared_task

from billing import (
    alerts,
    autotopups,
    grants,
    incidents,
    invariants,
    ledger,
    notices,
    partitions,
    rollups,
    topups,
)
from billing.chains import config as chain_config
from billing.chains import exchange, rates, reconciliation, watcher
from billing.chains.rpc import RpcError
from billing.chains.transfers import Disagreement
from billing.models import Alert, ChainCursor
from billing.models_funding import Refund, TopUp
from billing.stripe import customers, events, payouts, polling
from billing.stripe.client import StripeError

log = structlog.get_logger(__name__)

# Long enough for every transaction that was open then to have ended.
SETTLED_AFTER = timedelta(days=1)


@shared_task
def make_partitions() -> None:
    """Make the months that are missing, twelve ahead."""
    made = partitions.make_months()
    if made:
        log.info("Partitions made", partitions=made)


@shared_task
def expire_grants() -> None:
    """Book what is left of expired grants as breakage."""
    ended = grants.expire_due(now=datetime.now(UTC))
    if ended:
        log.info("Grants expired", lots=ended)


@shared_task
def verify_ledger() -> None:
    """Check the invariants; freeze the workspaces whose balance may be wrong, repair nothing."""
    report = invariants.check()
    violated = [finding for finding in report.findings if finding.violations]
    for finding in violated:
        incidents.begin(
            kind=Alert.Kind.LEDGER_VIOLATION,
            subject=f"invariant:{finding.id}",
            facts={
                "name": finding.name,
                "violations": finding.violations,
                "examples": list(finding.examples),
            },
        )
    incidents.end_others(
        kind=Alert.Kind.LEDGER_VIOLATION, subjects={f"invariant:{each.id}" for each in violated}
    )
    if violated:
        log.critical("The ledger violates its invariants", **report.summary())
    for workspace_id in sorted(report.doubted):
        ledger.freeze(workspace_id=workspace_id)
    for hook in invariants.on_checked:
        hook(len(violated))


@shared_task
def make_ledger_checkpoint() -> None:
    """Sum up all older transfers, so that the next check need not replay them."""
    through = invariants.make_checkpoint(before=datetime.now(UTC) - SETTLED_AFTER)
    log.info("Ledger checkpoint made", through=through)


@shared_task
def roll_up() -> None:
    """Add what was used since the last time to the sums per hour and per day."""
    report = rollups.roll_up()
    if report.rebuilt:
        log.warning("All sums of usage were made anew", counted=report.counted)


@shared_task
def send_alerts() -> None:
    """Raise what people have to know, then send what was not sent yet."""
    raised = alerts.due()
    alerts.watch_losses()
    sent = notices.deliver()
    if raised or sent:
        log.info("Alerts", raised=len(raised), sent=sent)


@shared_task
def watch_chains() -> None:
    """Look at each chain, ask what coins are worth, convert what is due."""
    if not chain_config.configured():
        return
    for chain in chain_config.current().chains:
        watch_chain.delay(chain.id)
    troubles = rates.refresh()
    done = exchange.convert_due(now=datetime.now(UTC))
    reconciliation.report_silence(now=datetime.now(UTC))
    if done or troubles:
        log.info("Coins converted", deposits=done, held=troubles)


@shared_task
def watch_chain(chain_id: int) -> None:
    """Look at one chain; a look that is still going on is not disturbed."""
    look = watcher.watch(chain=chain_config.chain(chain_id))
    if look.new:
        log.info("Deposits booked", chain=chain_id, deposits=look.new, through=look.through)
        exchange.convert_due(now=datetime.now(UTC))


@shared_task
def reconcile_chains() -> None:
    """Compare what lies at our addresses with what was booked."""
    if not chain_config.configured():
        return
    for chain in chain_config.current().chains:
        if not ChainCursor.objects.filter(pk=chain.id).exists():
            continue
        try:
            found = reconciliation.reconcile(chain=chain)
        except (RpcError, Disagreement) as error:
            log.warning("A chain could not be reconciled", chain=chain.id, error=str(error))
        else:
            log.info("A chain was reconciled", chain=chain.id, differences=len(found))


@shared_task
def book_stripe_event(event_id: str) -> None:
    """Book one event of Stripe's; where it has to wait, polling comes back to it."""
    events.book(event_id=event_id)


@shared_task
def forget_stripe_events() -> None:
    """Empty the events of Stripe's that are past their time."""
    emptied = events.forget_old(now=datetime.now(UTC))
    if emptied:
        log.info("Events emptied", events=emptied)


@shared_task
def charge_card(top_up_id: int) -> None:
    """Charge a saved card for a payment that was asked for."""
    with suppress(StripeError):
        topups.processor().charge(top_up=TopUp.objects.get(pk=top_up_id))


@shared_task
def send_refund(refund_id: int) -> None:
    """Send a refund whose money is set aside."""
    with suppress(StripeError):
        topups.processor().refund(refund=Refund.objects.get(pk=refund_id))


@shared_task
def top_up_automatically() -> None:
    """Begin the automatic top-ups that are due, and charge their cards."""
    if topups.processor().missing():
        return
    for top_up in autotopups.begin_due(now=datetime.now(UTC)):
        charge_card(top_up.pk)


@shared_task
def poll_payments() -> None:
    """Find what no webhook told: events, open payments and refunds, debts; forget the departed."""
    if topups.processor().missing():
        return
    with suppress(StripeError):
        events.fetch_missed()
    for event_id in events.due(now=datetime.now(UTC)):
        events.book(event_id=event_id)
    polling.open_payments(now=datetime.now(UTC))
    customers.forget_departed()


@shared_task
def reconcile_payments() -> None:
    """Book fees and payouts, and compare each payment of the last days with the ledger."""
    if topups.processor().missing():
        return
    unmatched = payouts.reconcile(now=datetime.now(UTC))
    if unmatched:
        log.error("Stripe's transactions that match nothing here", unmatched=unmatched)
