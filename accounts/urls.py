"""Pages about people: the front page, sign-up, sign-in, the workspace switch."""

from __future__ import annotations

from allauth.account import views as allauth_views
from django.urls import path

from accounts import (
    views,
    views_audit,
    views_errors,
    views_invitations,
    views_legal,
    views_settings,
    views_team,
    views_webhooks,
)

urlpatterns = [
    path("", views.landing, name="landing"),
    path("login", allauth_views.login, name="account_login"),
    path("signup", allauth_views.signup, name="account_signup"),
    path("csp-report", views_errors.csp_report, name="csp_report"),
    path("language", views.choose_language, name="choose_language"),
    path("impersonation/stop", views.stop_impersonation, name="impersonation_stop"),
    path("dashboard/workspace", views.switch_workspace, name="switch_workspace"),
    path("dashboard/settings", views_settings.settings_page, name="settings"),
    path("dashboard/settings/profile", views_settings.profile, name="settings_profile"),
    path("dashboard/settings/workspace", views_settings.rename, name="workspace_rename"),
    path("dashboard/settings/workspaces", views_settings.create, name="workspace_create"),
    path("dashboard/settings/prompts", views_settings.prompt_logging, name="workspace_prompts"),
    path("dashboard/settings/workspace/close", views_settings.close, name="workspace_close"),
    path("dashboard/settings/data.json", views_settings.personal_record, name="personal_record"),
    path("dashboard/settings/delete", views_settings.delete_account, name="account_delete"),
    path("dashboard/settings/webhooks", views_webhooks.webhook_list, name="webhooks"),
    path(
        "dashboard/settings/webhooks/<str:public_id>", views_webhooks.webhook_page, name="webhook"
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/change",
        views_webhooks.change,
        name="webhook_change",
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/switch",
        views_webhooks.switch,
        name="webhook_switch",
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/rotate",
        views_webhooks.rotate,
        name="webhook_rotate",
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/test",
        views_webhooks.send_test,
        name="webhook_test",
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/delete",
        views_webhooks.delete,
        name="webhook_delete",
    ),
    path(
        "dashboard/settings/webhooks/<str:public_id>/deliveries/<str:delivery_id>/resend",
        views_webhooks.resend,
        name="webhook_resend",
    ),
    path("dashboard/team", views_team.team, name="team"),
    path("dashboard/team/invite", views_team.invite, name="invite"),
    path(
        "dashboard/team/invitations/<str:public_id>/revoke",
        views_team.revoke_invitation,
        name="revoke_invitation",
    ),
    path("dashboard/team/members/<str:public_id>/role", views_team.change_role, name="member_role"),
    path("dashboard/team/members/<str:public_id>/remove", views_team.remove, name="member_remove"),
    path("dashboard/team/services", views_team.create_service, name="service_create"),
    path(
        "dashboard/team/services/<str:public_id>", views_team.change_service, name="service_change"
    ),
    path("dashboard/team/audit", views_audit.audit_log, name="audit_log"),
    path("legal/<slug:name>", views_legal.legal_text, name="legal"),
    path("invitations/<str:token>", views_invitations.invitation, name="invitation"),
]
