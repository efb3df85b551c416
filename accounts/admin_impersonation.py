"""
Looks at the dashboard as a customer, in the admin site.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from http import HTTPStatus

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts import impersonation
from accounts.adminrows import Looked, staff
from accounts.models import Impersonation
from common.errors import ApiError


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        min_length=3,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        help_text="They can read it in their audit log.",
    )


@admin.register(Impersonation)
class ImpersonationAdmin(Looked):
    """Who looked as which customer, and why."""

    list_display = ("started_at", "staff", "customer", "reason", "expires_at", "ended_at")
    list_select_related = ("staff", "customer")
    search_fields = ("=public_id", "=staff__email", "=customer__email")
    readonly_fields = ("public_id", "started_at")


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
