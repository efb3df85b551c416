"""A key's successor: the same rights and another text, while the old one goes on for a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import keybounds, keyrights, keystore
from accounts.actors import Actor
from accounts.errors import Invalid
from accounts.keytext import mint
from accounts.models import ApiKey, Workspace

MAX_OVERLAP: Final = timedelta(days=90)


@transaction.atomic
def rotate(*, key: ApiKey, overlap: timedelta, by: Actor) -> tuple[ApiKey, str]:
    """A key like this one with another text; this one ends after the overlap.

    :raises Invalid: an overlap out of bounds, or a key that works no more
    :raises Forbidden: whoever asks may not make a key with these rights and bounds, or staff
        disabled this one
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid(_("The old key may live on for up to 90 days."), param="overlap")
    old = keystore.lock(key=key)
    keyrights.require_not_stopped_by_staff(by=by, key=old)
    # Read after the lock: whoever waited for another rotation must see the key as ended.
    now = timezone.now()
    if old.disabled_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Invalid(_("This key works no more; create a new one."))
    carried = keystore.open_workspaces(Workspace.objects.filter(key_workspaces__key=old))
    terms = _terms(old)
    keyrights.require_to_make(by=by, owner=old.owner, carried=carried, wanted=terms.scopes)
    text = mint(prefix=settings.API_KEY_PREFIX)
    kind = ApiKey.Kind.STANDARD if old.kind == ApiKey.Kind.IMPORTED else old.kind
    new = keystore.store(
        text=text, owner=old.owner, carried=carried, terms=terms, kind=kind, by=by, replaces=old
    )
    keybounds.hand_on(by=by, key=new)
    end = now + overlap
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    keystore.save(key=old, fields=["expires_at"])
    return new, text


def _terms(key: ApiKey) -> keystore.Terms:
    return keystore.Terms(
        name=key.name,
        scopes=keystore.proved_scopes(key.scopes),
        models=key.models,
        rpm=key.rpm,
        ips=key.ips,
        expires_at=key.expires_at,
        tpm=key.tpm,
        max_streams=key.max_streams,
        prompt_logging=key.prompt_logging,
    )
