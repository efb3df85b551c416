"""Forms of the keys' pages. They read what people type; accounts.keys decides what is allowed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, cast

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts import scopes
from accounts.models import ServiceAccount
from accounts.scopes import Scope
from accounts.seats import Seat
from billing.forms import UsdField

USUAL_SCOPES: Final = frozenset({Scope.CHAT, Scope.EMBEDDINGS, Scope.IMAGES, Scope.MODELS_READ})
# As the form shows them: what may go on one key together, and a few words for each.
SCOPE_GROUPS: Final = (
    (
        _("Call models"),
        {
            Scope.CHAT: _("chat models"),
            Scope.EMBEDDINGS: _("embedding models"),
            Scope.IMAGES: _("image models"),
        },
    ),
    (
        _("Only read: goes with either"),
        {
            Scope.MODELS_READ: _("models and prices"),
            Scope.USAGE_READ: _("usage and logs"),
            Scope.BILLING_READ: _("balances and ledger"),
        },
    ),
    (
        _("Manage the workspace"),
        {
            Scope.KEYS_READ: _("see keys"),
            Scope.KEYS_MANAGE: _("create and change keys"),
            Scope.BILLING_MANAGE: _("pay and set caps"),
            Scope.MEMBERS_MANAGE: _("team and invitations"),
            Scope.WEBHOOKS_MANAGE: _("webhooks"),
            Scope.AUDIT_READ: _("audit log"),
        },
    ),
)
MYSELF: Final = ""
EXPIRIES: Final = (
    ("", _("Never")),
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In 365 days")),
)
OVERLAPS: Final = (
    ("0", _("At once")),
    ("1", _("In 1 hour")),
    ("24", _("In 24 hours")),
    ("168", _("In 7 days")),
)


class DayInput(forms.DateInput):
    """The browser's own calendar."""

    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


class GroupedBoxes(forms.CheckboxSelectMultiple):
    """Boxes to tick under the headings of their groups."""

    template_name = "dashboard/keys/boxes.html"


class LinesField(forms.CharField):
    """Words, one per line or parted by commas."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        """Read the words, each once."""
        text: str = super().to_python(value) or ""
        return list(dict.fromkeys(text.replace(",", " ").split()))


class KeyForm(forms.Form):
    """Everything that can be said about a new key."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("Where the key is used, so that you recognise it later."),
    )
    owner = forms.ChoiceField(
        label=_("Owner"),
        required=False,
        help_text=_("A service account's key goes on working when its maker leaves."),
    )
    workspaces = forms.MultipleChoiceField(
        label=_("Workspaces"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("With more than one, each request has to name its own in x-workspace-id."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        widget=GroupedBoxes,
        help_text=_(
            "A key calls models or manages the workspace, never both; "
            "what only reads models, usage and billing goes with either."
        ),
    )
    models = LinesField(
        label=_("Models"),
        required=False,
        help_text=_("One per line. Empty: all models."),
    )
    rpm = forms.IntegerField(
        label=_("Requests per minute"),
        required=False,
        min_value=0,
        help_text=_("Empty: what your tier gives by default."),
    )
    tpm = forms.IntegerField(
        label=_("Tokens per minute"),
        required=False,
        min_value=0,
        help_text=_("Prompt and answer together. Empty: as many as there are."),
    )
    max_streams = forms.IntegerField(
        label=_("Streams at once"),
        required=False,
        min_value=0,
        help_text=_("Answers that may be streaming at the same time. Empty: any number."),
    )
    daily_usd = UsdField(
        label=_("Limit per day, USD"),
        required=False,
        help_text=_("Empty: what your tier gives by default."),
    )
    monthly_usd = UsdField(
        label=_("Limit per month, USD"),
        required=False,
        help_text=_("Empty: what your tier gives by default."),
    )
    ips = LinesField(
        label=_("IP addresses"),
        required=False,
        help_text=_("Addresses or networks, one per line. Empty: from anywhere."),
    )
    expires = forms.ChoiceField(label=_("Expires"), required=False, choices=EXPIRIES)
    no_prompts = forms.BooleanField(
        label=_("Never keep its prompts"),
        required=False,
        help_text=_("This workspace keeps what its calls say. Calls of this key are left out."),
    )

    field_order = ("name", "scopes", "workspaces", "owner")
    MORE: Final = (
        "models",
        "rpm",
        "tpm",
        "max_streams",
        "daily_usd",
        "monthly_usd",
        "ips",
        "expires",
        "no_prompts",
    )

    def __init__(self, *args: Any, seat: Seat, seats: list[Seat], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seat = seat
        self.workspace_of = {other.workspace.public_id: other.workspace for other in seats}
        self._offer_scopes()
        self._offer_workspaces()
        self._offer_owners()
        if not seat.workspace.prompt_logging:
            del self.fields["no_prompts"]

    def _offer_scopes(self) -> None:
        allowed = scopes.of_role(self.seat.role)
        groups = [
            (group, [(scope, f"{scope}: {what}") for scope, what in of.items() if scope in allowed])
            for group, of in SCOPE_GROUPS
        ]
        self.choices_of("scopes", [(str(group), offered) for group, offered in groups if offered])
        self.fields["scopes"].initial = sorted(USUAL_SCOPES & allowed)

    def _offer_workspaces(self) -> None:
        named = [(public_id, str(row)) for public_id, row in self.workspace_of.items()]
        self.choices_of("workspaces", named)
        self.fields["workspaces"].initial = [self.seat.workspace.public_id]
        if len(named) == 1:
            self.fields["workspaces"].widget = forms.MultipleHiddenInput()

    def _offer_owners(self) -> None:
        services = (
            ServiceAccount.objects.filter(workspace=self.seat.workspace, disabled_at=None)
            if self.seat.may(Scope.KEYS_MANAGE)
            else ServiceAccount.objects.none()
        )
        self.service_of = {row.public_id: row for row in services}
        if not self.service_of:
            del self.fields["owner"]
            return
        named = [(public_id, row.name) for public_id, row in self.service_of.items()]
        self.choices_of("owner", [(MYSELF, _("Myself")), *named])

    def choices_of(self, name: str, choices: list[tuple[str, Any]]) -> None:
        """Set what a field offers."""
        cast(forms.ChoiceField, self.fields[name]).choices = choices

    def main_fields(self) -> list[forms.BoundField]:
        """The fields that everybody fills in."""
        return [field for field in self.visible_fields() if field.name not in self.MORE]

    def more_fields(self) -> list[forms.BoundField]:
        """The fields that most people leave alone."""
        return [field for field in self.visible_fields() if field.name in self.MORE]

    def more_has_errors(self) -> bool:
        """Whether the folded part has to be open."""
        return any(field.errors for field in self.more_fields())


class RotateForm(forms.Form):
    """How long the old key goes on working."""

    overlap = forms.ChoiceField(label=_("The old key stops working"), choices=OVERLAPS)

    def overlap_of(self) -> timedelta:
        """Return the chosen time."""
        return timedelta(hours=int(self.cleaned_data["overlap"]))


class DeleteForm(forms.Form):
    """The name of the key, typed by hand."""

    name = forms.CharField(label=_("Type the name of the key"), strip=True)

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected
        self.fields["name"].widget.attrs.update(
            {"autocomplete": "off", "data-must-equal": expected, "data-testid": "delete-name"}
        )

    def clean_name(self) -> str:
        """
        Return the name.

        :raises ValidationError: it is not the key's
        """
        name: str = self.cleaned_data["name"]
        if name != self.expected:
            raise forms.ValidationError(_("That is not the name of this key."))
        return name
