"""
Rows that staff edit in a form: with a reason, with what changed written down in the same commit.

Whoever saves what somebody else has changed meanwhile is told, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.contrib import admin
from django.db.models import BinaryField, DateTimeField, Model
from django.http import HttpRequest

from accounts import audit, versions
from accounts.actors import Staff
from accounts.models import User
from billing.adminrows import InDollars

if TYPE_CHECKING:
    AnyModelForm = forms.ModelForm[Any]
    AnyLines = forms.BaseInlineFormSet[Any, Any, Any]
    AnyInline = admin.TabularInline[Any, Any]
else:
    # Django's own classes cannot be subscripted.
    AnyModelForm, AnyLines = forms.ModelForm, forms.BaseInlineFormSet
    AnyInline = admin.TabularInline


class ReasonedForm(AnyModelForm):
    """A row, and why it is changed."""

    reason = forms.CharField(
        min_length=3, max_length=500, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the audit log.",
    )  # fmt: skip
    version = forms.CharField(widget=forms.HiddenInput, required=False, max_length=64)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.instance.pk and "version" in self.fields:
            self.fields["version"].initial = versions.of(facts(self.instance))

    def clean(self) -> dict[str, Any]:
        """Refuse to write over what somebody else changed since; the admin site's transaction."""
        answers: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance.pk and not self.instance._state.adding:
            rows = type(self.instance)._base_manager.select_for_update(no_key=True)
            stored = rows.filter(pk=self.instance.pk).first()
            if stored is None or versions.of(facts(stored)) != answers.get("version"):
                raise forms.ValidationError(
                    "It was changed since you read it. Open it again and repeat your change."
                )
            self.stored = stored
        return answers


def facts(row: Model) -> dict[str, Any]:
    """What can be told of a row: never what is sealed in it."""
    found = {}
    for column in row._meta.concrete_fields:
        if not isinstance(column, BinaryField) and not column.name.endswith("key_id"):
            value = column.value_from_object(row)
            plain = isinstance(value, str | int | bool | list | type(None))
            found[column.name] = value if plain else str(value)
    return found


def named(field: Any) -> Any:
    """A field whose inputs say their own names: where several share a label, or have none."""
    if field is not None:
        parts = getattr(field.widget, "widgets", [field.widget])
        words = ("",) if len(parts) == 1 else (", date", ", time")
        for part, word in zip(parts, words, strict=True):
            part.attrs["aria-label"] = f"{field.label}{word}"
    return field


class LinesFormSet(AnyLines):
    """Lines of a row, whose boxes to take them away say so."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """Name the box."""
        super().add_fields(form, index)
        if "DELETE" in form.fields:
            named(form.fields["DELETE"])


class LinesAdmin(AnyInline):
    """Lines of a row in a table, each input with the name of its column."""

    formset = LinesFormSet

    def formfield_for_dbfield(self, db_field: Any, request: Any, **options: Any) -> Any:
        """Name the input."""
        return named(super().formfield_for_dbfield(db_field, request, **options))


class ReasonedAdmin(InDollars):
    """Rows whose changes are written down with a reason."""

    form = ReasonedForm
    # The word for such rows in the audit log.
    noun: ClassVar[str] = "row"

    def formfield_for_dbfield(self, db_field: Any, request: Any, **options: Any) -> Any:
        """Name the parts of a field that has several."""
        field = super().formfield_for_dbfield(db_field, request, **options)
        return named(field) if isinstance(db_field, DateTimeField) else field

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Ask why at the end, whoever may change something."""
        names = super().get_fields(request, obj)
        if obj is not None and not self.has_change_permission(request, obj):
            return [name for name in names if name not in ("reason", "version")]
        return sorted(names, key=lambda name: name == "reason")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and write down what changed."""
        super().save_model(request, obj, form, change)
        before = facts(form.stored) if change and hasattr(form, "stored") else None
        self.write_down(
            request,
            obj,
            action=f"{self.noun}.{'changed' if change else 'added'}",
            reason=form.cleaned_data.get("reason", ""),
            before=before,
            after=facts(obj) | self.secrets_changed(form),
        )

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save a row's lines, and write each down that changed."""
        before = {each.instance.pk: each.initial for each in formset.forms}
        super().save_formset(request, form, formset, change)
        reason = form.cleaned_data.get("reason", "")
        noun = f"{self.noun}.{formset.model._meta.model_name}"
        for row in formset.new_objects:
            self.write_down(request, row, f"{noun}.added", reason, None, facts(row))
        for row, names in formset.changed_objects:
            was, became = before.get(row.pk, {}), facts(row)
            self.write_down(
                request, row, f"{noun}.changed", reason,
                {name: _plain(was.get(name)) for name in names},
                {name: became.get(name) for name in names},
            )  # fmt: skip
        for row in formset.deleted_objects:
            self.write_down(request, row, f"{noun}.removed", reason, None, {})

    def secrets_changed(self, form: Any) -> dict[str, Any]:
        """Which secrets a form replaced: never what they are."""
        return {}

    def write_down(
        self,
        request: HttpRequest,
        row: Any,
        action: str,
        reason: str,
        before: dict[str, Any] | None,
        after: dict[str, Any],
    ) -> None:
        """Write a change into the audit log, in its transaction."""
        audit.record(
            action=action[:64],
            by=Staff(cast("User", request.user)),
            target=audit.Target(str(row)[:64] or str(row.pk), str(row)),
            workspaces=[None],
            before=None if before is None else before | {"reason": None},
            after=after | {"reason": reason},
        )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | bool | list | type(None)) else str(value)
