"""Suspended payments in the admin site: staff say whose they are."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Workspace
from accounts.workspaces import whom
from billing import suspense
from billing.admin_claims import told
from billing.adminsteps import Step, StepForm, SteppedAdmin, Taken
from billing.models import Suspended

RESOLVE = "accounts.resolve_calls"


class CreditForm(StepForm):
    """Whose it is."""

    workspace = forms.CharField(max_length=40, help_text="Its id: ws_…")

    def clean_workspace(self) -> Workspace:
        """Find the workspace."""
        name = str(self.cleaned_data["workspace"]).strip()
        found = Workspace.objects.filter(public_id=name, closed_at=None).first()
        if found is None:
            raise forms.ValidationError("There is no open workspace of that id.")
        return found


def _credit(taken: Taken) -> str:
    workspace: Workspace = taken.form["workspace"]
    submitted = suspense.credit(
        row=taken.row,
        workspace=workspace,
        reason=taken.reason,
        by=taken.by,
        source=taken.token,
    )
    return told(submitted, f"{suspense.words(taken.row)} were credited to {whom(workspace)}.")


def _give_back(taken: Taken) -> str:
    suspense.give_back(row=taken.row, reason=taken.reason, by=taken.by)
    return "Booked back. Pay it back there by hand."


CREDIT = Step(
    name="credit",
    title="Credit",
    text="Credit it as paid money to the workspace whose payment it is. Compare names and amounts"
    " with the processor's own page first.",
    permission=RESOLVE,
    form=CreditForm,
    run=_credit,
)
GIVE_BACK = Step(
    name="give_back",
    title="Give back",
    text="Book it back to where it came from, because it was paid back there by hand.",
    permission=RESOLVE,
    run=_give_back,
)


@admin.register(Suspended)
class SuspendedAdmin(SteppedAdmin):
    """Money that arrived and is nobody's."""

    steps = (CREDIT, GIVE_BACK)
    list_display = ("at", "reference", "amount_text", "reason", "source")
    units = {"amount": "asset"}
    search_fields = ("=reference",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Suspended]:
        """Return what nobody has decided."""
        return suspense.waiting()

    @admin.display(description="Amount")
    def amount_text(self, row: Any) -> str:
        """How much, of what."""
        return suspense.words(row)

    def done_url(self, row: Model) -> str:
        """Lead back to the list: what was decided is on it no more."""
        return reverse("admin:billing_suspended_changelist")
