"""
What takes two people, and what one moved alone, in the admin site.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from accounts import approvals
from accounts.adminrows import Looked, staff
from accounts.models import Approval, SoleDecision
from common import money
from common.errors import ApiError


class NoteForm(forms.Form):
    """What somebody says with a decision."""

    note = forms.CharField(required=False, max_length=500)


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
