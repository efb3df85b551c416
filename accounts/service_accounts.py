"""Service accounts: users of one workspace that are not people, for keys that outlive staff."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, keybounds, members, scopes, versions, workspaces
from accounts.actors import Actor
from accounts.errors import Invalid, Missing
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, ServiceAccount, Workspace
from accounts.scopes import SERVICE_ROLES, Role


@transaction.atomic
def create(*, workspace: Workspace, name: str, role: str, by: Actor) -> ServiceAccount:
    """A new service account.

    :raises Forbidden: the one who makes it may not, or may not give that role
    :raises Invalid: the name is taken or malformed, or no service account has that role
    """
    wanted = _role(role)
    members.require_to_grant(by=by, workspace=workspace, role=wanted)
    account = ServiceAccount(workspace=workspace, name=workspaces.clean_name(name), role=wanted)
    try:
        with transaction.atomic():
            account.save(force_insert=True)
    except IntegrityError:
        raise Invalid(
            _("There is a service account %(name)r already.") % {"name": account.name},
            param="name",
        ) from None
    _record("service_account.created", account, by=by, after=facts(account))
    return account


def facts(account: ServiceAccount) -> dict[str, object]:
    """What can be changed of a service account."""
    return {"role": str(account.role), "disabled_at": account.disabled_at}


def _record(
    action: str,
    account: ServiceAccount,
    *,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object],
) -> None:
    audit.record(
        action=action,
        by=by,
        target=audit.Target(account.public_id, account.name),
        workspaces=[account.workspace_id],
        before=before,
        after=after,
    )


def named(*, workspace: Workspace, name: str) -> ServiceAccount:
    """The service account of that name in a workspace.

    :raises Missing: there is none
    """
    account = ServiceAccount.objects.filter(workspace=workspace, name=name).first()
    if account is None:
        raise Missing(f"{workspace.name} has no service account {name!r}.")
    return account


def by_id(*, pk: int) -> ServiceAccount:
    """The service account that owns a key."""
    return ServiceAccount.objects.get(pk=pk)


@transaction.atomic
def change_role(
    *, account: ServiceAccount, role: str, by: Actor, version: str | None = None
) -> ServiceAccount:
    """Give it another role; its keys follow at once.

    :raises Conflict: it is not at the version that was asked for
    :raises Forbidden: the one who changes may not touch the old or give the new role
    :raises Invalid: no service account has that role
    """
    current = _locked(account)
    wanted = _role(role)
    members.require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    members.require_to_grant(by=by, workspace=current.workspace, role=wanted)
    before = facts(current)
    versions.require(wanted=version, current=versions.of(before))
    if not scopes.of_role(current.role) >= scopes.of_role(wanted):
        _hand_on_keys(current, by=by)
    current.role = wanted
    current.save(update_fields=["role"])
    _record("service_account.role_changed", current, by=by, before=before, after=facts(current))
    return current


@transaction.atomic
def disable(*, account: ServiceAccount, by: Actor) -> ServiceAccount:
    """Stop all its keys until it is enabled again.

    :raises Forbidden: the one who asks may not manage members
    """
    current = _locked(account)
    members.require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    before = facts(current)
    current.disabled_at = current.disabled_at or timezone.now()
    current.save(update_fields=["disabled_at"])
    _record("service_account.disabled", current, by=by, before=before, after=facts(current))
    return current


@transaction.atomic
def enable(*, account: ServiceAccount, by: Actor) -> ServiceAccount:
    """Let its keys work again.

    :raises Forbidden: the one who asks may not manage members
    """
    current = _locked(account)
    members.require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    before = facts(current)
    _hand_on_keys(current, by=by)
    current.disabled_at = None
    current.save(update_fields=["disabled_at"])
    _record("service_account.enabled", current, by=by, before=before, after=facts(current))
    return current


def _hand_on_keys(account: ServiceAccount, *, by: Actor) -> None:
    """Prove of each key that may do more from now on that it is within the bounds of who says so.

    :raises Forbidden: who acts is a key, and it is bound more narrowly itself
    """
    if not isinstance(by, KeyRecord):
        return
    live = ApiKey.objects.filter(service_account=account, deleted_at=None, disabled_at=None)
    for key in live.exclude(expires_at__lte=timezone.now()).order_by("pk"):
        keybounds.hand_on(by=by, key=key)


def _locked(account: ServiceAccount) -> ServiceAccount:
    found = ServiceAccount.objects.select_related("workspace")
    return found.select_for_update(no_key=True, of=("self",)).get(pk=account.pk)


def _role(role: str) -> Role:
    wanted = members.known_role(role=role)
    if wanted not in SERVICE_ROLES:
        raise Invalid(_("A service account never owns a workspace."), param="role")
    return wanted
