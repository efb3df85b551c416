"""Whether a workspace keeps its prompts and answers, and for how long."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from accounts import promptlogging
from accounts.api import MEMBER, Call, Endpoint, Strict, VersionField, needs, operation
from accounts.errors import Invalid
from accounts.models import MOST_PROMPT_DAYS, Workspace
from accounts.promptlogging import Wish
from accounts.scopes import Scope


class PromptLoggingSerializer(serializers.Serializer[Any]):
    """What a workspace chose, and what the operator allows."""

    enabled = serializers.BooleanField()
    days = serializers.IntegerField(help_text="How long each call's words are kept.")
    most_days = serializers.IntegerField(help_text="0: the operator keeps no prompts.")
    version = serializers.CharField()


class PromptLoggingChangeSerializer(Strict):
    """What is left out stays."""

    enabled = serializers.BooleanField(required=False)
    days = serializers.IntegerField(required=False, min_value=1, max_value=MOST_PROMPT_DAYS)
    delete_kept = serializers.BooleanField(
        required=False,
        help_text="Asked where it is switched off: true deletes what is kept, false leaves it to "
        "its time.",
    )
    version = VersionField()


class PromptLoggingView(Endpoint):
    """``/workspaces/{workspace_id}/prompt-logging``"""

    @operation(
        name="get_prompt_logging",
        access=MEMBER,
        answer=PromptLoggingSerializer,
        place="workspace_id",
    )
    def get(self, call: Call, workspace_id: str) -> dict[str, Any]:
        """Whether the words of calls are kept."""
        return _shown(call.workspace)

    @operation(
        name="update_prompt_logging",
        access=needs(Scope.MEMBERS_MANAGE),
        body=PromptLoggingChangeSerializer,
        answer=PromptLoggingSerializer,
        place="workspace_id",
    )
    def patch(self, call: Call, workspace_id: str) -> dict[str, Any]:
        """Switch it on or off, or choose how long; only an owner may."""
        asked, place = call.body, call.workspace
        enabled = asked.get("enabled", place.prompt_logging)
        if place.prompt_logging and not enabled and "delete_kept" not in asked:
            message = "Say whether what is kept is deleted now: delete_kept true or false."
            raise Invalid(message, param="delete_kept")
        wish = Wish(
            enabled=enabled,
            days=asked.get("days", place.prompt_days),
            forget=asked.get("delete_kept", False),
        )
        changed = promptlogging.change(workspace=place, wish=wish, by=call.by, version=call.version)
        return _shown(changed)


def _shown(workspace: Workspace) -> dict[str, Any]:
    most = settings.PROMPT_LOG_MAX_DAYS
    return {
        "enabled": workspace.prompt_logging and promptlogging.allowed(),
        "days": workspace.prompt_days,
        "most_days": most,
        "version": promptlogging.version(workspace),
    }
