"""Who is calling, as this side sees it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import signup
from accounts.api import SIGNED_IN, Call, Endpoint, operation
from accounts.keyrecord import KeyRecord


class MeSerializer(serializers.Serializer[Any]):
    """The caller."""

    kind = serializers.ChoiceField(choices=["user", "key"])
    user_id = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    verified = serializers.BooleanField()
    key_id = serializers.CharField(allow_null=True)
    scopes = serializers.ListField(child=serializers.CharField())


class MeView(Endpoint):
    """``/me``"""

    @operation(name="me", access=SIGNED_IN, answer=MeSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """Who is calling."""
        person, by = call.caller.person, call.by
        return {
            "kind": "key" if isinstance(by, KeyRecord) else "user",
            "user_id": person.public_id if person else None,
            "email": person.email if person else None,
            "verified": bool(person and signup.is_verified(person)),
            "key_id": by.public_id if isinstance(by, KeyRecord) else None,
            "scopes": sorted(call.caller.rights),
        }
