"""
Who may call what, written by hand: the one list that the code is held against.

A new endpoint fails the matrix until it has a line here. ``PEOPLE`` marks what a member may call
without the scope, because only what is theirs is shown or changed.
"""

from __future__ import annotations

MEMBER = "member"
SIGNED_IN = "signed in"
PEOPLE = "people"

MANAGEMENT: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "me"): (SIGNED_IN,),
    ("GET", "workspaces"): (SIGNED_IN,),
    ("POST", "workspaces"): ("members:manage", PEOPLE),
    ("GET", "workspaces/{workspace_id}"): (MEMBER,),
    ("PATCH", "workspaces/{workspace_id}"): ("members:manage",),
    ("POST", "workspaces/{workspace_id}/leave"): ("members:manage", PEOPLE),
    ("POST", "workspaces/{workspace_id}/close"): ("members:manage",),
    ("GET", "members"): (MEMBER,),
    ("GET", "members/{member_id}"): (MEMBER,),
    ("PATCH", "members/{member_id}"): ("members:manage",),
    ("DELETE", "members/{member_id}"): ("members:manage",),
    ("GET", "invitations"): ("members:manage",),
    ("POST", "invitations"): ("members:manage",),
    ("POST", "invitations/accept"): (SIGNED_IN,),
    ("GET", "invitations/{invitation_id}"): ("members:manage",),
    ("DELETE", "invitations/{invitation_id}"): ("members:manage",),
    ("GET", "service-accounts"): (MEMBER,),
    ("POST", "service-accounts"): ("members:manage",),
    ("GET", "service-accounts/{service_account_id}"): (MEMBER,),
    ("PATCH", "service-accounts/{service_account_id}"): ("members:manage",),
    ("POST", "service-accounts/{service_account_id}/disable"): ("members:manage",),
    ("POST", "service-accounts/{service_account_id}/enable"): ("members:manage",),
    ("GET", "audit-events"): ("audit:read",),
    ("GET", "audit-events/{event_id}"): ("audit:read",),
    ("GET", "keys"): ("keys:read", PEOPLE),
    ("POST", "keys"): ("keys:manage", PEOPLE),
    ("GET", "keys/{key_id}"): ("keys:read", PEOPLE),
    ("PATCH", "keys/{key_id}"): ("keys:manage", PEOPLE),
    ("DELETE", "keys/{key_id}"): ("keys:manage", PEOPLE),
    ("POST", "keys/{key_id}/rotate"): ("keys:manage", PEOPLE),
    ("POST", "keys/{key_id}/disable"): ("keys:manage", PEOPLE),
    ("POST", "keys/{key_id}/enable"): ("keys:manage", PEOPLE),
    ("GET", "balances"): ("billing:read",),
    ("GET", "transactions"): ("billing:read",),
    ("GET", "usage"): ("usage:read",),
    ("GET", "limits"): ("billing:read",),
    ("PATCH", "limits"): ("billing:manage",),
    ("GET", "crypto"): ("billing:read",),
    ("PATCH", "crypto"): ("billing:manage",),
    ("POST", "crypto/address"): ("billing:manage",),
    ("POST", "crypto/conversions"): ("billing:manage",),
    ("GET", "deposits"): ("billing:read",),
    ("GET", "top-ups"): ("billing:read",),
    ("POST", "top-ups"): ("billing:manage",),
    ("GET", "top-ups/{top_up_id}"): ("billing:read",),
    ("GET", "top-ups/{top_up_id}/refunds"): ("billing:read",),
    ("POST", "top-ups/{top_up_id}/refunds"): ("billing:manage",),
    ("GET", "cards"): ("billing:read",),
    ("GET", "auto-top-up"): ("billing:read",),
    ("PUT", "auto-top-up"): ("billing:manage",),
    ("GET", "token-packages"): ("billing:read",),
    ("POST", "token-purchases"): ("billing:manage",),
    ("GET", "logs"): ("usage:read",),
    ("GET", "logs/{request_id}"): ("usage:read",),
    ("GET", "prices"): ("models:read",),
    ("GET", "exports"): (MEMBER,),
    ("POST", "exports"): (MEMBER,),
    ("GET", "exports/{export_id}"): (MEMBER,),
    ("DELETE", "exports/{export_id}"): (MEMBER,),
    ("GET", "exports/{export_id}/file"): (MEMBER,),
}

# The gateway's own paths, below /v1/ and, where they are OpenAI's, below /api/v1/ as well.
GATEWAY: dict[tuple[str, str], str] = {
    ("POST", "chat/completions"): "chat",
    ("POST", "completions"): "chat",
    ("POST", "responses"): "chat",
    ("POST", "embeddings"): "embeddings",
    ("POST", "images/generations"): "images",
    ("GET", "models"): "any",
    ("GET", "generation"): "any",
    ("GET", "key"): "any",
    ("GET", "credits"): "any",
    ("POST", "/api/v2/generate"): "chat",
    ("GET", "/api/v2/generate/status"): "any",
    ("POST", "/api/ds-prototypes/chat/completions"): "chat",
    ("GET", "/api/ds-prototypes/health"): "any",
    ("GET", "/livez"): "nobody is asked",
}
