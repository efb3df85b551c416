"""Who is calling, as this side sees it; and what belongs to the person alone."""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from rest_framework import serializers

from accounts import personal, profiles, sessions, signup
from accounts.api import PERSON, SIGNED_IN, Call, Endpoint, Page, Strict, VersionField, operation
from accounts.keyrecord import KeyRecord
from accounts.models import User
from common import pagination


class MeSerializer(serializers.Serializer[Any]):
    """The caller; for a key, the person it belongs to."""

    kind = serializers.ChoiceField(choices=["user", "key"])
    user_id = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    verified = serializers.BooleanField()
    name = serializers.CharField(allow_null=True)
    language = serializers.CharField(allow_null=True)
    time_zone = serializers.CharField(allow_null=True)
    key_id = serializers.CharField(allow_null=True)
    scopes = serializers.ListField(child=serializers.CharField())
    version = serializers.CharField(allow_null=True)


class ProfileChangeSerializer(Strict):
    """What a person can change of themselves; what is left out stays."""

    name = serializers.CharField(max_length=profiles.LONGEST_NAME, required=False, allow_blank=True)
    language = serializers.CharField(max_length=8, required=False)
    time_zone = serializers.CharField(
        max_length=64, required=False, help_text="Of the IANA list, as Europe/Berlin."
    )
    version = VersionField()


class PersonalRecordSerializer(serializers.Serializer[Any]):
    """Everything that names the person."""

    user = serializers.DictField()
    email_addresses = serializers.ListField(child=serializers.DictField())
    second_factors = serializers.ListField(child=serializers.DictField())
    sessions = serializers.ListField(child=serializers.DictField())
    memberships = serializers.ListField(child=serializers.DictField())
    keys = serializers.ListField(child=serializers.DictField())
    invitations = serializers.ListField(child=serializers.DictField())
    webhooks = serializers.ListField(child=serializers.DictField())
    service_accounts = serializers.ListField(child=serializers.DictField())
    looked_at_by_support = serializers.ListField(child=serializers.DictField())
    consents = serializers.ListField(child=serializers.DictField())
    changes = serializers.ListField(child=serializers.DictField())


class SessionSerializer(serializers.Serializer[Any]):
    """One place where the person is signed in."""

    id = serializers.CharField(source="pk")
    address = serializers.CharField(source="ip")
    user_agent = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    current = serializers.BooleanField(help_text="Whether this request came from there.")


class MeView(Endpoint):
    """``/me``"""

    @operation(name="me", access=SIGNED_IN, answer=MeSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """Who is calling."""
        return _shown(call, call.caller.person)

    @operation(name="update_me", access=PERSON, body=ProfileChangeSerializer, answer=MeSerializer)
    def patch(self, call: Call) -> dict[str, Any]:
        """Change the name, the language or the time zone; only a signed-in person can."""
        given = {name: call.body[name] for name in profiles.FIELDS if name in call.body}
        return _shown(call, profiles.change(user=call.by, given=given, version=call.version))


class PersonalRecordView(Endpoint):
    """``/me/data``"""

    @operation(name="get_my_data", access=PERSON, answer=PersonalRecordSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """Everything that names the person; only they can have it, signed in."""
        return personal.record(user=call.by)


class SessionsView(Endpoint):
    """``/me/sessions``"""

    @operation(name="list_sessions", access=PERSON, answer=SessionSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """Where the person is signed in; only they can see it, signed in."""
        here = Q(session_key=call.request.session.session_key or "")
        found = sessions.of(user=call.by).annotate(
            current=ExpressionWrapper(here, output_field=BooleanField())
        )
        return Page(*pagination.by_id(found, call.page))

    @operation(name="end_other_sessions", access=PERSON, status=204)
    def delete(self, call: Call) -> None:
        """Sign out everywhere else."""
        sessions.end_others(user=call.by, session_key=call.request.session.session_key)


class SessionView(Endpoint):
    """``/me/sessions/{session_id}``"""

    @operation(name="end_session", access=PERSON, status=204)
    def delete(self, call: Call, session_id: str) -> None:
        """Sign out there."""
        sessions.end(user=call.by, session_id=session_id)


def _shown(call: Call, person: User | None) -> dict[str, Any]:
    by = call.by
    told = {name: getattr(person, name, None) for name in profiles.FIELDS}
    return told | {
        "kind": "key" if isinstance(by, KeyRecord) else "user",
        "user_id": person.public_id if person else None,
        "email": person.email if person else None,
        "verified": bool(person and signup.is_verified(person)),
        "key_id": by.public_id if isinstance(by, KeyRecord) else None,
        "scopes": sorted(call.caller.rights),
        "version": profiles.version(user=person) if person else None,
    }
