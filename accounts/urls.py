"""Pages about people: the front page, sign-up, sign-in, the workspace switch."""

from __future__ import annotations

from allauth.account import views as allauth_views
from django.urls import path

from accounts import views, views_invitations

urlpatterns = [
    path("", views.landing, name="landing"),
    path("login", allauth_views.login, name="account_login"),
    path("signup", allauth_views.signup, name="account_signup"),
    path("dashboard/workspace", views.switch_workspace, name="switch_workspace"),
    path("invitations/<str:token>", views_invitations.invitation, name="invitation"),
]
