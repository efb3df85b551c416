"""
Steps: what staff do to a row, each on a page of its own that asks for a reason.

A page carries a token and the version of what it showed. Sent twice a step is taken once; taken
of something that was changed meanwhile it is refused. The step, its token and its entry in the
audit log are one transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import versions
from accounts.actors import Staff
from accounts.errors import Invalid
from accounts.models import User
from billing.adminrows import ReadOnlyAdmin, RowAdmin
from billing.ledger import LedgerError
from common.errors import ApiError

BEGIN: Final = """
insert into billing_staffstep (token, step, target, created_by_id) values (%s, %s, %s, %s)
on conflict do nothing
"""
REFUSALS: Final = (ApiError, LedgerError)
Facts = Mapping[str, Any]


class StepForm(forms.Form):
    """Why, and what makes it safe to send twice."""

    reason = forms.CharField(
        min_length=3,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept in the audit log.",
    )
    token = forms.UUIDField(widget=forms.HiddenInput)
    version = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def __init__(self, *arguments: Any, row: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.row = row
        # What is asked comes first, the reason after it.
        self.order_fields([name for name in self.fields if name != "reason"])


@dataclass(frozen=True, slots=True)
class Taken:
    """A step as it is taken: of which row, with which answers, by whom, under which token."""

    row: Any
    form: Mapping[str, Any]
    by: Staff
    token: uuid.UUID

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.form["reason"])


def nothing(row: Any) -> Any:
    """No facts: whatever the row has become, the step is what it was."""
    return {}


def always(row: Any) -> str:
    """Nothing speaks against it."""
    return ""


def unlocked(row: Any) -> None:
    """Lock nothing: what is called locks what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    Something staff can do: ``run`` does it and says what was done.

    ``permission`` is whose it is; ``facts`` are what must not have changed since they were
    shown, under what ``lock`` has locked; ``refusal`` says why it cannot be done now. What needs
    the network is in ``follow``: it runs once, after the step is durable, and says what it did.
    """

    name: str
    title: str
    text: str
    permission: str
    run: Callable[[Taken], str]
    form: type[StepForm] = StepForm
    facts: Callable[[Any], Facts] = nothing
    lock: Callable[[Any], None] = unlocked
    refusal: Callable[[Any], str] = always
    follow: Callable[[Taken], str] | None = None


class Stepping(RowAdmin):
    """Rows with steps."""

    steps: tuple[Step, ...] = ()
    change_form_template = "admin/billing/stepped.html"

    def get_urls(self) -> list[URLPattern]:
        """Add an address for each step."""
        own = [
            path(
                f"<path:object_id>/{step.name}/",
                self.admin_site.admin_view(partial(self.step_view, step=step)),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{step.name}",
            )
            for step in self.steps
        ]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a row with the steps that may be taken."""
        row = self.get_object(request, unquote(object_id))
        offered = {"steps": self.offered(request, row) if row is not None else []}
        return super().change_view(request, object_id, form_url, offered | (extra_context or {}))

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, str]]:
        """The steps that somebody may take with a row now."""
        return [
            {"title": step.title, "url": self.step_url(step, row)}
            for step in self.steps
            if cast("User", request.user).has_perm(step.permission) and not step.refusal(row)
        ]

    def step_url(self, step: Step, row: Model) -> str:
        """Where a step is taken."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{step.name}"
        return reverse(name, args=[row.pk])

    def step_view(self, request: HttpRequest, object_id: str, step: Step) -> HttpResponse:
        """Ask about a step, or take it."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            missing = self._get_obj_does_not_exist_redirect  # type: ignore[attr-defined]  # private
            return cast("HttpResponse", missing(request, self.opts, object_id))
        user = cast("User", request.user)
        if not (self.has_view_permission(request, row) and user.has_perm(step.permission)):
            raise PermissionDenied
        form = self._form(request, step, row)
        if request.method == "POST" and form.is_valid():
            try:
                return self._take(request, step, row, form)
            except REFUSALS as error:
                form.add_error(None, str(error))
        elif why := step.refusal(row):
            messages.warning(request, why)
            return HttpResponseRedirect(self.row_url(row))
        return self._page(request, step, row, form)

    def row_url(self, row: Model) -> str:
        """Where a row is shown."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def done_url(self, row: Model) -> str:
        """Where somebody is led who took a step."""
        return self.row_url(row)

    def _form(self, request: HttpRequest, step: Step, row: Any) -> StepForm:
        if request.method == "POST":
            return step.form(request.POST, row=row)
        hidden = {"token": uuid.uuid4(), "version": versions.of(step.facts(row))}
        return step.form(row=row, initial=hidden)

    def _take(self, request: HttpRequest, step: Step, row: Any, form: StepForm) -> HttpResponse:
        by = Staff(cast("User", request.user))
        answers = dict(form.cleaned_data)
        with transaction.atomic():
            if not begin(token=answers["token"], step=step.name, target=str(row.pk), by=by):
                messages.info(request, "This was done already.")
                return HttpResponseRedirect(self.done_url(row))
            step.lock(row)
            fresh = self.get_object(request, str(row.pk))
            if fresh is None or (why := step.refusal(fresh)):
                raise Invalid(why if fresh is not None else "It is gone.")
            versions.require(wanted=answers["version"], current=versions.of(step.facts(fresh)))
            taken = Taken(fresh, answers, by, answers["token"])
            told = step.run(taken)
        messages.success(request, step.follow(taken) if step.follow else told)
        return HttpResponseRedirect(self.done_url(row))

    def _page(self, request: HttpRequest, step: Step, row: Any, form: StepForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": step.title,
            "subtitle": str(row),
            "step": step,
            "row": row,
            "row_url": self.row_url(row),
            "form": form,
        }
        status = 200 if request.method == "GET" else 422
        return TemplateResponse(request, "admin/billing/step.html", context, status=status)


class SteppedAdmin(Stepping, ReadOnlyAdmin):
    """Rows that are changed by steps only."""


def begin(*, token: uuid.UUID, step: str, target: str, by: Staff) -> bool:
    """
    Take a form's token, in the transaction of its step; False where it was taken before.

    Of a form that was sent twice at once, the second waits here for the end of the first.
    """
    with connection.cursor() as cursor:
        cursor.execute(BEGIN, [token, step, target[:64], by.user.pk])
        return bool(cursor.rowcount)
