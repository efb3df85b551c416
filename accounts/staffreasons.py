"""
Whoever of the staff changes, stops or removes something by hand says why.

The reason is for staff: it stands in the audit log that no customer reads, beside what the
customer's own log has of the change.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.actors import Staff
from accounts.audit import Target
from accounts.errors import Invalid

HELP: Final = "Kept in the audit log."


class ReasonField(forms.CharField):
    """Why, in 3 to 500 characters."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {"min_length": 3, "max_length": 500, "help_text": HELP}
        super().__init__(**{"widget": forms.Textarea(attrs={"rows": 2}), **usual, **options})


class ReasonedForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A row, and why it is changed."""

    reason = ReasonField()


class ReasonedActions(ActionForm):
    """What to do with the chosen rows, and why; what is wrong with the reason is told later."""

    reason = forms.CharField(required=False, max_length=1000, label="Reason:")


class Reasoned:
    """Pages of a row, its removal and the actions of its list ask for a reason."""

    action_form: ClassVar[Any] = ReasonedActions
    delete_confirmation_template: ClassVar[Any] = "admin/accounts/remove.html"

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out the removal of several at once, which asks no reason."""
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]  # a mixin
        actions.pop("delete_selected", None)
        return actions

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Ask why at the end, whoever may change something."""
        shown = [name for name in super().get_fields(request, obj) if name != "reason"]  # type: ignore[misc]  # a mixin
        return [*shown, "reason"] if self.asks(request, obj) else shown

    def asks(self, request: HttpRequest, obj: Any) -> bool:
        """Whether a page of a row can be sent."""
        if obj is None:
            return bool(self.has_add_permission(request))  # type: ignore[attr-defined]  # a mixin
        return bool(self.has_change_permission(request, obj))  # type: ignore[attr-defined]  # a mixin

    def delete_view(self, request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        """Remove a row for a reason."""
        if request.method == "POST" and self.has_delete_permission(request):  # type: ignore[attr-defined]  # a mixin
            told(request)
        answer: HttpResponse = super().delete_view(request, *args, **named)  # type: ignore[misc]  # a mixin
        return answer


def told(request: HttpRequest) -> str:
    """The reason that came with an action.

    :raises Invalid: none, or too short or too long
    """
    try:
        return str(ReasonField().clean(request.POST.get("reason", "")))
    except ValidationError:
        raise Invalid(
            "Nothing was changed: say why, in 3 to 500 characters.", param="reason"
        ) from None


def write_down(
    *,
    action: str,
    by: Staff,
    target: Target,
    reason: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write a change and its reason into the log of the staff, in its transaction."""
    if before is not None and before == after:
        return
    audit.record(
        action=action,
        by=by,
        target=target,
        workspaces=[None],
        before={**(before or {}), "reason": None},
        after={**(after or {}), "reason": reason},
    )
