"""
What staff see of each other's doings: approvals, looks as a customer, second factors, sessions.

The pages that libraries bring would show what they keep; these show who and when, no secret.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.base.internal.flows import delete_dangling_recovery_codes
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from accounts import approvals, impersonation, signins
from accounts.actors import Staff
from accounts.models import Approval, Impersonation, SoleDecision, User
from common import money
from common.errors import ApiError


class NoteForm(forms.Form):
    """What somebody says with a decision."""

    note = forms.CharField(required=False, max_length=500)


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        min_length=3,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        help_text="They can read it in their audit log.",
    )


class Looked(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


def staff(request: HttpRequest) -> Staff:
    """Whoever works in this site."""
    return Staff(cast("User", request.user))


@admin.register(Approval)
class ApprovalAdmin(Looked):
    """What takes two people; the second decides here. What is to be done exactly is not shown."""

    change_form_template = "admin/accounts/approval.html"
    list_display = ("summary", "amount_usd", "state", "requester", "requested_at", "approver")
    list_filter = ("state", "kind")
    list_select_related = ("requester", "approver")
    search_fields = ("=public_id", "=workspace__public_id", "=requester__email")
    # Without the payload: whoever asks seals what is secret in it; even so nobody reads it here.
    fields = (
        *("summary", "amount_usd", "reason", "workspace", "requester", "requested_at"),
        *("expires_at", "state", "approver", "decided_at", "note", "kind", "public_id"),
    )
    readonly_fields = ("public_id", "amount_usd", "requested_at")

    @admin.display(description="Worth, USD", ordering="amount_nanos", empty_value="-")
    def amount_usd(self, approval: Approval) -> str | None:
        """What it is worth, where it is about money."""
        return None if approval.amount_nanos is None else money.usd(approval.amount_nanos)

    def get_urls(self) -> list[URLPattern]:
        """Add the two decisions."""
        decisions = (("approve", approvals.approve), ("refuse", approvals.refuse))
        own = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(self._deciding(decide)),
                name=f"accounts_approval_{name}",
            )
            for name, decide in decisions
        ]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a request; whoever may decide it sees the two buttons."""
        approval = self.get_object(request, object_id)
        waits = approval if approval and approval.state == Approval.State.PENDING else None
        own = waits is not None and waits.requester_id == request.user.pk
        may = waits is not None and not own and request.user.has_perm(approvals.DECIDE)
        context = {"may_decide": may, "is_own": own}
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def _deciding(self, decide: Callable[..., Approval]) -> Callable[..., HttpResponse]:
        @require_POST
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            if not request.user.has_perm(approvals.DECIDE):
                raise PermissionDenied
            approval = self.get_object(request, object_id)
            if approval is None:
                raise Http404
            form = NoteForm(request.POST)
            if form.is_valid():
                self._decide(request, approval, decide, form.cleaned_data["note"])
            else:
                messages.error(request, f"Nothing was decided. {form.errors['note'][0]}")
            return HttpResponseRedirect(reverse("admin:accounts_approval_change", args=[object_id]))

        return view

    def _decide(
        self, request: HttpRequest, approval: Approval, decide: Callable[..., Approval], note: str
    ) -> None:
        try:
            decided = decide(approval=approval, by=staff(request), note=note)
        except ApiError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, f"{decided.get_state_display()}: {decided.summary}")


@admin.register(SoleDecision)
class SoleDecisionAdmin(Looked):
    """What people of the staff moved alone, below the limit."""

    list_display = ("at", "kind", "person", "workspace", "amount_usd")
    list_select_related = ("person", "workspace")
    search_fields = ("=person__email", "=workspace__public_id")
    fields = ("at", "kind", "person", "workspace", "amount_usd")
    readonly_fields = ("at", "amount_usd")

    @admin.display(description="Worth, USD", ordering="amount_nanos")
    def amount_usd(self, decision: SoleDecision) -> str:
        """What it was worth."""
        return money.usd(decision.amount_nanos)


@admin.register(Impersonation)
class ImpersonationAdmin(Looked):
    """Who looked as which customer, and why."""

    list_display = ("started_at", "staff", "customer", "reason", "expires_at", "ended_at")
    list_select_related = ("staff", "customer")
    search_fields = ("=public_id", "=staff__email", "=customer__email")
    readonly_fields = ("public_id", "started_at")


@admin.register(Authenticator)
class AuthenticatorAdmin(Looked):
    """Who has which second factor; never what it is. Superusers remove lost ones."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("=user__email",)
    fields = ("user", "type", "created_at", "last_used_at")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only: whoever lost a phone proves to one of them who they are."""
        return bool(getattr(request.user, "is_superuser", False))

    def delete_model(self, request: HttpRequest, obj: Authenticator) -> None:
        """Remove it, and recovery codes that are left alone; written down for its owner."""
        with transaction.atomic():
            obj.delete()
            delete_dangling_recovery_codes(obj.user)
            signins.record(
                "user.second_factor_removed", user=obj.user, by=staff(request), type=obj.type
            )

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Authenticator]) -> None:
        """Remove several."""
        for each in queryset:
            self.delete_model(request, each)


@admin.register(EmailAddress)
class EmailAddressAdmin(Looked):
    """Addresses, and whether they are proved."""

    list_display = ("email", "user", "primary", "verified")
    list_filter = ("verified",)
    list_select_related = ("user",)
    search_fields = ("=email",)


@admin.register(UserSession)
class UserSessionAdmin(Looked):
    """Who is signed in from where; never by which key of a session."""

    list_display = ("user", "created_at", "last_seen_at", "ip", "user_agent")
    list_select_related = ("user",)
    search_fields = ("=user__email", "=ip")
    fields = ("user", "created_at", "last_seen_at", "ip", "user_agent")


class Impersonable(admin.ModelAdmin):  # type: ignore[type-arg]
    """People as whom staff may look at the dashboard."""

    change_form_template = "admin/accounts/user.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks why."""
        view = self.admin_site.admin_view(self.impersonate_view)
        own = [path("<path:object_id>/impersonate/", view, name="accounts_user_impersonate")]
        return own + super().get_urls()

    def impersonate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the reason, then go to the customer's dashboard."""
        if not request.user.has_perm(impersonation.PERMISSION):
            raise PermissionDenied
        customer = self.get_object(request, unquote(object_id))
        if customer is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                impersonation.start(
                    request=request,
                    customer=customer,
                    reason=form.cleaned_data["reason"],
                    by=staff(request),
                )
            except ApiError as error:
                form.add_error(None, error.message)
            else:
                return HttpResponseRedirect(reverse("overview"))
        context = {
            "form": form,
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Look as {customer.email}",
            "customer": customer,
        }
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
        return TemplateResponse(request, "admin/accounts/impersonate.html", context, status=status)
