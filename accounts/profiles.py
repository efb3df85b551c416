"""What a person says about themselves: a name, a language, a time zone."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit, versions
from accounts.errors import Invalid
from accounts.models import User, Workspace

FIELDS: Final = ("name", "language", "time_zone")
LONGEST_NAME: Final = 150


def facts(*, user: User) -> dict[str, object]:
    """What can be changed of a person."""
    return audit.facts(user, *FIELDS)


def version(*, user: User) -> str:
    """The version that a change is made to."""
    return versions.of(facts(user=user))


@transaction.atomic
def change(*, user: User, given: Mapping[str, str], version: str | None = None) -> User:
    """Change what is given, leave the rest; it is told in the person's own workspace.

    :raises Conflict: the person is not at the version that was asked for
    :raises Invalid: a name that no page can show, a language or a time zone that we do not have
    """
    current = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    before = facts(user=current)
    versions.require(wanted=version, current=versions.of(before))
    for name in FIELDS:
        if name in given:
            setattr(current, name, PROOFS[name](given[name]))
    current.save(update_fields=list(FIELDS))
    places = Workspace.objects.filter(personal_of=user).values_list("pk", flat=True)
    audit.record(
        action="user.profile_changed",
        by=current,
        target=audit.Target(current.public_id, current.email),
        workspaces=[places.first()],
        before=before,
        after=facts(user=current),
    )
    return current


def _name(name: str) -> str:
    cleaned = " ".join(name.split())
    if len(cleaned) > LONGEST_NAME or not (cleaned == "" or cleaned.isprintable()):
        words = _("A name has up to %(most)d printable characters.")
        raise Invalid(words % {"most": LONGEST_NAME}, param="name")
    return cleaned


def _language(code: str) -> str:
    known = list(dict(settings.LANGUAGES))
    if code not in known:
        words = _("Pages and emails are in one of: %(languages)s.")
        raise Invalid(words % {"languages": ", ".join(known)}, param="language")
    return code


def _time_zone(zone: str) -> str:
    if zone not in zoneinfo.available_timezones():
        raise Invalid(_("Name a zone of the IANA list, as Europe/Berlin."), param="time_zone")
    return zone


PROOFS: Final = {"name": _name, "language": _language, "time_zone": _time_zone}
