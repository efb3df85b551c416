"""The end of an account, for what money keeps beside the ledger and the invoices."""

from __future__ import annotations

from django.utils import timezone

from accounts.models import User, Workspace
from billing.models import Alert, AlertPreference
from billing.models_funding import AutoTopUp, SavedCard, StripeCustomer


def forget(user: User) -> None:
    """Blank the cards of a personal workspace, charge them no more, drop its alerts."""
    AutoTopUp.objects.filter(workspace__personal_of=user).delete()
    for workspace in Workspace.objects.filter(personal_of=user):
        blank_cards(workspace_id=workspace.pk)
    Alert.objects.filter(workspace__personal_of=user).delete()
    AlertPreference.objects.filter(workspace__personal_of=user).delete()


def blank_cards(*, workspace_id: int) -> None:
    """Leave nothing of a workspace's cards that its owner would know them by."""
    # The fingerprint stays: one card is counted over all workspaces that ever had it.
    SavedCard.objects.filter(workspace_id=workspace_id).update(
        brand="", last4="", exp_month=1, exp_year=1970, detached_at=timezone.now()
    )


def departed() -> list[StripeCustomer]:
    """The payment service's customers whose accounts ended: to be deleted there too."""
    gone = StripeCustomer.objects.filter(
        workspace__personal_of__is_active=False,
        workspace__personal_of__email__endswith="@invalid",
        workspace__closed_at__isnull=False,
    )
    return list(gone.order_by("workspace_id"))
