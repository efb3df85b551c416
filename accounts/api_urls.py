"""The management API of people and places, below /api/v1/."""

from __future__ import annotations

from django.urls import path

from accounts import (
    api_audit,
    api_invitations,
    api_me,
    api_members,
    api_prompts,
    api_service_accounts,
    api_webhooks,
    api_workspaces,
)

urlpatterns = [
    path("me", api_me.MeView.as_view()),
    path("me/data", api_me.PersonalRecordView.as_view()),
    path("me/sessions", api_me.SessionsView.as_view()),
    path("me/sessions/<str:session_id>", api_me.SessionView.as_view()),
    path("workspaces", api_workspaces.WorkspacesView.as_view()),
    path("workspaces/<str:workspace_id>", api_workspaces.WorkspaceView.as_view()),
    path("workspaces/<str:workspace_id>/leave", api_workspaces.WorkspaceLeaveView.as_view()),
    path("workspaces/<str:workspace_id>/close", api_workspaces.WorkspaceCloseView.as_view()),
    path("workspaces/<str:workspace_id>/prompt-logging", api_prompts.PromptLoggingView.as_view()),
    path("members", api_members.MembersView.as_view()),
    path("members/<str:member_id>", api_members.MemberView.as_view()),
    path("invitations", api_invitations.InvitationsView.as_view()),
    path("invitations/accept", api_invitations.AcceptanceView.as_view()),
    path("invitations/<str:invitation_id>", api_invitations.InvitationView.as_view()),
    path("invitations/<str:invitation_id>/resend", api_invitations.InvitationResendView.as_view()),
    path("service-accounts", api_service_accounts.ServiceAccountsView.as_view()),
    path(
        "service-accounts/<str:service_account_id>",
        api_service_accounts.ServiceAccountView.as_view(),
    ),
    path(
        "service-accounts/<str:service_account_id>/disable",
        api_service_accounts.ServiceAccountDisableView.as_view(),
    ),
    path(
        "service-accounts/<str:service_account_id>/enable",
        api_service_accounts.ServiceAccountEnableView.as_view(),
    ),
    path("webhooks", api_webhooks.WebhooksView.as_view()),
    path("webhooks/<str:webhook_id>", api_webhooks.WebhookView.as_view()),
    path("webhooks/<str:webhook_id>/rotate-secret", api_webhooks.WebhookSecretView.as_view()),
    path("webhooks/<str:webhook_id>/test", api_webhooks.WebhookTestView.as_view()),
    path("webhooks/<str:webhook_id>/deliveries", api_webhooks.DeliveriesView.as_view()),
    path(
        "webhooks/<str:webhook_id>/deliveries/<str:delivery_id>",
        api_webhooks.DeliveryView.as_view(),
    ),
    path(
        "webhooks/<str:webhook_id>/deliveries/<str:delivery_id>/resend",
        api_webhooks.DeliveryResendView.as_view(),
    ),
    path("audit-events", api_audit.AuditEventsView.as_view()),
    path("audit-events/<str:event_id>", api_audit.AuditEventView.as_view()),
]
