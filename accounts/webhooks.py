"""
Endpoints of outgoing webhooks: made, changed, given another secret, stopped, ended.

A secret leaves ``create`` and ``rotate_secret`` once; it is kept sealed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import actors, audit, egress, versions, webhookevents, webhooksigning
from accounts.actors import Actor
from accounts.errors import Forbidden, Invalid, Missing
from accounts.models import WebhookDelivery, WebhookEndpoint, Workspace
from accounts.models_webhook import KINDS
from accounts.scopes import Scope
from common import crypto

MOST: Final = 20
MOST_OVERLAP: Final = timedelta(days=7)
OVERLAP: Final = timedelta(days=1)
Stopped = WebhookEndpoint.Stopped


def of(*, workspace: Workspace) -> QuerySet[WebhookEndpoint]:
    """The endpoints of a workspace."""
    return WebhookEndpoint.objects.filter(workspace=workspace)


def get(*, workspace: Workspace, public_id: str) -> WebhookEndpoint:
    """
    One endpoint of a workspace.

    :raises Missing: there is none of that id
    """
    found = of(workspace=workspace).filter(public_id=public_id).first()
    if found is None:
        raise Missing(_("There is no such webhook in this workspace."))
    return found


def facts(endpoint: WebhookEndpoint) -> dict[str, object]:
    """What can be changed of an endpoint."""
    return {
        "url": endpoint.url,
        "events": list(endpoint.events),
        "disabled_at": endpoint.disabled_at,
    }


def version(endpoint: WebhookEndpoint) -> str:
    """The version that a change is made to."""
    return versions.of(facts(endpoint))


@transaction.atomic
def create(
    *, workspace: Workspace, url: str, events: Iterable[str], by: Actor
) -> tuple[WebhookEndpoint, str]:
    """
    A new endpoint and its secret, which nobody can read again.

    :raises Forbidden: the one who makes it may not
    :raises Invalid: a URL that nothing is sent to, unknown events, or too many endpoints
    """
    _require(by, workspace)
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    if of(workspace=workspace).count() >= MOST:
        words = _("A workspace has at most %(most)d webhooks; delete one first.")
        raise Invalid(words % {"most": MOST})
    secret = webhooksigning.new_secret()
    sealed, key_id = crypto.seal(secret.encode())
    endpoint = WebhookEndpoint.objects.create(
        workspace=workspace,
        url=address(url=url),
        events=_events(events),
        sealed=sealed,
        sealed_key_id=key_id,
        created_by_id=actors.person_id(by),
    )
    endpoint.refresh_from_db()
    _record("webhook.created", endpoint, by=by, after=facts(endpoint))
    return endpoint, secret


@transaction.atomic
def update(
    *,
    endpoint: WebhookEndpoint,
    by: Actor,
    url: str | None = None,
    events: Iterable[str] | None = None,
    enabled: bool | None = None,
    version: str | None = None,
) -> WebhookEndpoint:
    """
    Change what is given, leave the rest.

    :raises Conflict: it is not at the version that was asked for
    :raises Forbidden: the one who changes may not
    :raises Invalid: a URL that nothing is sent to, or unknown events
    """
    current = _locked(endpoint)
    _require(by, current.workspace)
    before = facts(current)
    versions.require(wanted=version, current=versions.of(before))
    if url is not None:
        current.url = address(url=url)
    if events is not None:
        current.events = _events(events)
    if enabled is not None:
        _switch(current, enabled=enabled)
    current.save()
    if current.disabled_at is not None:
        _drop_pending(current)
    _record("webhook.updated", current, by=by, before=before, after=facts(current))
    return current


def _switch(endpoint: WebhookEndpoint, *, enabled: bool) -> None:
    if enabled:
        endpoint.disabled_at = endpoint.failing_since = endpoint.told_at = None
        endpoint.stopped = ""
    elif endpoint.disabled_at is None:
        endpoint.disabled_at, endpoint.stopped = timezone.now(), Stopped.PERSON


@transaction.atomic
def delete(*, endpoint: WebhookEndpoint, by: Actor) -> None:
    """
    End an endpoint, with its log.

    :raises Forbidden: the one who asks may not
    """
    current = _locked(endpoint)
    _require(by, current.workspace)
    _record("webhook.deleted", current, by=by, before=facts(current))
    current.delete()


@transaction.atomic
def rotate_secret(
    *, endpoint: WebhookEndpoint, by: Actor, overlap: timedelta = OVERLAP
) -> tuple[WebhookEndpoint, str]:
    """
    Another secret; until the overlap ends the old one signs as well.

    :raises Forbidden: the one who asks may not
    :raises Invalid: an overlap out of bounds
    """
    if not timedelta(0) <= overlap <= MOST_OVERLAP:
        raise Invalid(_("The old secret may sign on for up to 7 days."), param="overlap_hours")
    current = _locked(endpoint)
    _require(by, current.workspace)
    secret = webhooksigning.new_secret()
    current.old_sealed, current.old_sealed_key_id = current.sealed, current.sealed_key_id
    current.old_until = timezone.now() + overlap
    current.sealed, current.sealed_key_id = crypto.seal(secret.encode())
    current.save()
    _record("webhook.secret_rotated", current, by=by, after={"old_secret_until": current.old_until})
    return current, secret


def secrets_of(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """
    The secrets that sign now, the newest first.

    :raises common.crypto.UnreadableSecret: the key that sealed them is not configured
    """
    found = [(endpoint.sealed, endpoint.sealed_key_id)]
    if endpoint.old_sealed is not None and endpoint.old_until and endpoint.old_until > now:
        found.append((endpoint.old_sealed, endpoint.old_sealed_key_id))
    return [crypto.unseal(bytes(sealed), key_id).decode() for sealed, key_id in found]


@transaction.atomic
def send_test(*, endpoint: WebhookEndpoint, by: Actor) -> WebhookDelivery:
    """
    Send an event that says nothing happened, also to a disabled endpoint.

    :raises Forbidden: the one who asks may not
    """
    current = _locked(endpoint)
    _require(by, current.workspace)
    return webhookevents.send_test(endpoint=current)


@transaction.atomic
def stop(*, endpoint: WebhookEndpoint, why: str) -> bool:
    """Stop an endpoint that answers no more; False where it is stopped already."""
    current = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=endpoint.pk).first()
    if current is None or current.disabled_at is not None:
        return False
    before = facts(current)
    current.disabled_at, current.stopped, current.told_at = timezone.now(), why, None
    current.save()
    _drop_pending(current)
    _record("webhook.stopped", current, by=None, before=before, after=facts(current))
    return True


def _drop_pending(endpoint: WebhookEndpoint) -> None:
    pending = WebhookDelivery.objects.filter(
        endpoint=endpoint, status=WebhookDelivery.Status.PENDING
    )
    pending.update(status=WebhookDelivery.Status.DROPPED, ended_at=timezone.now())


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    found = WebhookEndpoint.objects.select_related("workspace")
    current = found.select_for_update(no_key=True, of=("self",)).filter(pk=endpoint.pk).first()
    if current is None:
        raise Missing(_("There is no such webhook in this workspace."))
    return current


def _require(by: Actor, workspace: Workspace) -> None:
    if Scope.WEBHOOKS_MANAGE not in actors.rights(by=by, workspace=workspace):
        raise Forbidden(
            _("Your right here does not include %(right)s.") % {"right": "webhooks:manage"}
        )


def address(*, url: str) -> str:
    """
    Where requests would be sent, in the one form that is stored.

    :raises Invalid: nothing is sent there
    """
    try:
        return egress.parse(url.strip()).url
    except egress.BadUrl as error:
        raise Invalid(str(error), param="url") from None


def _events(events: Iterable[str]) -> list[str]:
    wanted = sorted(set(events))
    unknown = [each for each in wanted if each not in KINDS]
    if unknown or not wanted:
        words = _("Name one or more events of: %(kinds)s.")
        raise Invalid(words % {"kinds": ", ".join(KINDS)}, param="events")
    return wanted


def _record(
    action: str,
    endpoint: WebhookEndpoint,
    *,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    audit.record(
        action=action,
        by=by,
        target=audit.Target(endpoint.public_id, endpoint.url),
        workspaces=[endpoint.workspace_id],
        before=before,
        after=after,
    )
