"""Freezing and unfreezing by staff: a reason each time, written down with it."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts import audit
from accounts.actors import Actor
from accounts.errors import Invalid
from accounts.models import AuditEvent, Workspace
from billing import claims, ledger
from billing.models import Account

FROZEN: Final = "workspace.frozen"
UNFROZEN: Final = "workspace.unfrozen"
ACTIONS: Final = (FROZEN, UNFROZEN)


def freeze(*, workspace: Workspace, reason: str, by: Actor) -> None:
    """
    Refuse a workspace's new calls; calls in flight are settled as usual.

    :raises accounts.errors.Invalid: it is frozen
    """
    _set(workspace, frozen=True, reason=reason, by=by)


def unfreeze(*, workspace: Workspace, reason: str, by: Actor) -> None:
    """
    Let a workspace call again.

    :raises accounts.errors.Invalid: it is not frozen
    """
    _set(workspace, frozen=False, reason=reason, by=by)


@transaction.atomic
def _set(workspace: Workspace, *, frozen: bool, reason: str, by: Actor) -> None:
    ledger.open_accounts(workspace_id=workspace.pk)
    home = ledger.lock_homes(workspace_id=workspace.pk, assets=(ledger.USD,))[0]
    if home.frozen == frozen:
        raise Invalid("It is frozen already." if frozen else "It is not frozen.")
    Account.objects.filter(pk=home.pk).update(frozen=frozen)
    if not frozen:
        claims.decide(workspace_id=workspace.pk)
    audit.decided(
        action=FROZEN if frozen else UNFROZEN,
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspace=workspace,
        before={"frozen": home.frozen},
        after={"frozen": frozen},
        reason=reason,
    )


def frozen_by_staff(*, workspace: Workspace) -> AuditEvent | None:
    """How staff froze a workspace, with the reason; None where they did not, or undid it."""
    events = AuditEvent.objects.filter(
        target=workspace.public_id, action__in=ACTIONS, workspace=None
    ).select_related("user")
    last = events.order_by("-id").first()
    return last if last is not None and last.action == FROZEN else None
