"""What is asked about a passkey."""

from __future__ import annotations

import pytest
from allauth.mfa import app_settings
from allauth.utils import get_form_class
from django import forms
from django.utils.translation import override

from accounts.forms_passkeys import AddPasskeyForm, EditPasskeyForm


class TestForms:
    @pytest.mark.parametrize(
        ("name", "form"), [("add_webauthn", AddPasskeyForm), ("edit_webauthn", EditPasskeyForm)]
    )
    def test_the_library_asks_with_a_label_that_is_translated(
        self, name: str, form: type[forms.Form]
    ) -> None:
        asked = get_form_class(app_settings.FORMS, name, None)

        assert asked is form
        with override("ru"):
            assert str(form.base_fields["name"].label) == "Имя"

    def test_only_a_new_one_may_go_without_a_name(self) -> None:
        assert not AddPasskeyForm.base_fields["name"].required
        assert EditPasskeyForm.base_fields["name"].required
