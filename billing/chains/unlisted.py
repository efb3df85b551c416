"""What a person decides of tokens on no list that arrived."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.actors import Actor, person_id
from accounts.errors import Invalid
from billing.chains import config
from billing.models import UnlistedToken

Resolution = UnlistedToken.Resolution


@transaction.atomic
def resolve(*, token: UnlistedToken, resolution: str, by: Actor, reason: str) -> UnlistedToken:
    """
    Say what becomes of what arrived. What is credited is booked at the next look at the chain.

    :raises accounts.errors.Invalid: it was decided, or is to be credited and still on no list
    """
    found = UnlistedToken.objects.select_for_update(no_key=True, of=("self",)).get(pk=token.pk)
    if found.resolution:
        raise Invalid(f"It was decided: {found.get_resolution_display()}.")
    found.resolution = Resolution(resolution)
    if found.resolution == Resolution.CREDITED and not is_listed(token=found):
        raise Invalid(
            f"{found.contract} is on no list. Make sure of what it is, put it under tokens of "
            "the chain in CHAINS_FILE, restart, and come back."
        )
    found.note, found.resolved_by_id = reason, person_id(by)
    # What is to be credited is over once it is.
    found.resolved_at = None if found.resolution == Resolution.CREDITED else timezone.now()
    found.save(update_fields=["resolution", "note", "resolved_by", "resolved_at"])
    audit.record(
        action="crypto.unlisted_resolved",
        by=by,
        target=audit.Target(found.contract, str(found)),
        workspaces=[None],
        after={"resolution": found.resolution, "reason": reason},
    )
    return found


def is_listed(*, token: UnlistedToken) -> bool:
    """Whether a token is on the list of its chain by now."""
    try:
        chain = config.chain(token.chain_id)
    except config.NotConfigured:
        return False
    return token.contract in {each.contract for each in chain.tokens}
