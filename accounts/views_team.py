"""Members and their roles, invitations, service accounts. The logic decides who may do what."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import invitations, members, selectors_team, service_accounts
from accounts.errors import Forbidden
from accounts.models import Invitation, Membership, ServiceAccount
from accounts.outcomes import attempt
from accounts.scopes import Role, Scope
from accounts.seats import Seat, seated
from common import pagination
from common.errors import ApiError
from common.pagination import Page, Wanted

ROWS = 50
# Each goes on by itself; the others begin anew.
LISTS = ("members", "invitations", "services")


@require_safe
@seated
def team(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Everybody and everything that belongs to the workspace, a page of each."""
    return _page(request, seat)


def _page(request: HttpRequest, seat: Seat, refused: dict[str, str] | None = None) -> HttpResponse:
    """The page; with an invitation that was refused: what was typed, and why."""
    manages = seat.may(Scope.MEMBERS_MANAGE)
    at = {name: _wanted(request, name) for name in LISTS}
    shown = {
        "members": selectors_team.members_of(seat, at["members"]),
        "services": selectors_team.services_of(seat, at["services"]),
    }
    if manages:
        shown["invitations"] = selectors_team.invitations_of(seat.workspace, at["invitations"])
    context: dict[str, Any] = {
        **{name: _listed(name, page, at[name]) for name, page in shown.items()},
        "roles": selectors_team.roles_to_give(seat),
        "manages": manages,
        "refused": refused,
        "service_roles": selectors_team.service_roles(),
        "reads_audit": seat.may(Scope.AUDIT_READ),
        "may_leave": seat.role is not Role.OWNER
        or not members.owns_alone(workspace=seat.workspace, user=seat.user),
    }
    return render(request, "dashboard/team/page.html", context, status=400 if refused else 200)


def _wanted(request: HttpRequest, name: str) -> Wanted:
    cursor = request.GET.get(name)
    after = pagination.unseal(f"dashboard.{name}", cursor) if cursor else None
    return Wanted(limit=ROWS, after=after)


def _listed(name: str, page: Page, wanted: Wanted) -> dict[str, Any]:
    """What the template shows of a list: its rows and where its next page is."""
    following = ""
    if page.next is not None:
        cursor = pagination.seal(f"dashboard.{name}", page.next)
        following = f"?{urlencode({name: cursor})}#{name}-title"
    return {"rows": page.rows, "first": wanted.after is None, "next": following}


@require_POST
@seated
def invite(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Send somebody a link, or say at the field why not."""
    asked = {name: request.POST.get(name, "") for name in ("email", "role")}
    try:
        invitations.create(workspace=seat.workspace, by=seat.user, **asked)
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    except ApiError as refusal:
        return _page(request, seat, refused=asked | {"why": refusal.message})
    messages.success(request, _("The invitation is on its way."))
    return redirect("team")


@require_POST
@seated
def revoke_invitation(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Take an invitation back."""
    found = Invitation.objects.filter(workspace=seat.workspace, public_id=public_id).first()
    if found is None:
        raise Http404
    done = _("The invitation is taken back.")
    attempt(request, done, invitations.revoke, invitation=found, by=seat.user)
    return redirect("team")


@require_POST
@seated
def change_role(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Give a member another role."""
    attempt(
        request,
        _("The role is changed."),
        members.change_role,
        membership=_membership(seat, public_id),
        role=request.POST.get("role", ""),
        by=seat.user,
    )
    return redirect("team")


@require_POST
@seated
def remove(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Take a member out, or leave."""
    membership = _membership(seat, public_id)
    leaves = membership.user_id == seat.user.pk
    done = _("You have left the workspace.") if leaves else _("The member is removed.")
    gone = attempt(request, done, members.remove, membership=membership, by=seat.user)
    return redirect("overview" if leaves and gone else "team")


def _membership(seat: Seat, public_id: str) -> Membership:
    found = Membership.objects.select_related("workspace", "user").filter(
        workspace=seat.workspace, public_id=public_id
    )
    membership = found.first()
    if membership is None:
        raise Http404
    return membership


@require_POST
@seated
def create_service(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Make a service account."""
    attempt(
        request,
        _("The service account is made. Choose it as the owner of a new key."),
        service_accounts.create,
        workspace=seat.workspace,
        name=request.POST.get("name", ""),
        role=request.POST.get("role", ""),
        by=seat.user,
    )
    return redirect("team")


@require_POST
@seated
def change_service(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Give a service account another role, stop it, or let it work again."""
    account = ServiceAccount.objects.filter(workspace=seat.workspace, public_id=public_id).first()
    if account is None:
        raise Http404
    match request.POST.get("act"):
        case "disable":
            done = _("The service account is disabled; its keys are refused.")
            attempt(request, done, service_accounts.disable, account=account, by=seat.user)
        case "enable":
            done = _("The service account works again.")
            attempt(request, done, service_accounts.enable, account=account, by=seat.user)
        case _other:
            attempt(
                request,
                _("The role is changed."),
                service_accounts.change_role,
                account=account,
                role=request.POST.get("role", ""),
                by=seat.user,
            )
    return redirect("team")
