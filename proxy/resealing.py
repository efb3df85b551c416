"""
Rotation of ENCRYPTION_KEY: what older keys sealed, sealed again under the current one.

Rows are found by their columns: whatever is sealed lies beside the id of its key. A row that is
changed meanwhile is left as it is; whoever changed it sealed it under a current key.
"""

from __future__ import annotations

from collections.abc import Iterator

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.conf import settings
from django.db import models
from msgspec import Struct

from common import crypto
from common.crypto import UnreadableSecret

OURS = ("accounts", "billing", "proxy")
# What allauth has the adapter seal, within one column of JSON.
FACTORS = ("secret", "seed")


class Sealed(Struct, frozen=True):
    """Two columns of a model: what is sealed, and under which key."""

    model: type[models.Model]
    field: str
    key_field: str

    @property
    def name(self) -> str:
        """Return how the column is known in the database."""
        return f"{self.model._meta.db_table}.{self.field}"


class Count(Struct):
    """What became of one column's older rows."""

    name: str
    resealed: int = 0
    changed_meanwhile: int = 0
    unreadable: int = 0


def columns() -> Iterator[Sealed]:
    """Find every sealed column of our tables."""
    for label in OURS:
        for model in apps.get_app_config(label).get_models():
            names = {field.name for field in model._meta.get_fields()}
            for field in model._meta.get_fields():
                key_field = beside(field.name, names)
                if isinstance(field, models.BinaryField) and key_field:
                    yield Sealed(model, field.name, key_field)


def beside(name: str, names: set[str]) -> str:
    """Return the column with the id of the key that sealed a column; empty if there is none."""
    wanted = (f"{name}_key_id", f"{name}_with", f"{name.removesuffix('_encrypted')}_key_id")
    return next((each for each in wanted if each in names), "")


def reseal() -> list[Count]:
    """Seal under the current key whatever an older one sealed."""
    return [*(reseal_column(column) for column in columns()), reseal_factors()]


def reseal_column(column: Sealed) -> Count:
    """Seal one column's older rows again, each on its own."""
    count = Count(column.name)
    current = next(iter(settings.ENCRYPTION_KEYS))
    rows = column.model._default_manager.exclude(**{f"{column.key_field}__in": [current, ""]})
    older = rows.values_list("pk", column.field, column.key_field)
    for pk, sealed, key_id in older.iterator(chunk_size=500):
        if not sealed:
            continue
        try:
            again, again_id = crypto.seal(crypto.unseal(bytes(sealed), key_id))
        except UnreadableSecret:
            count.unreadable += 1
            continue
        same = column.model._default_manager.filter(
            **{"pk": pk, column.field: sealed, column.key_field: key_id}
        )
        if same.update(**{column.field: again, column.key_field: again_id}):
            count.resealed += 1
        else:
            count.changed_meanwhile += 1
    return count


def reseal_factors() -> Count:
    """Seal the secrets of second factors again, and those that were never sealed."""
    count = Count("mfa_authenticator.data")
    for pk, facts in Authenticator.objects.values_list("pk", "data").iterator(chunk_size=500):
        older = [name for name in FACTORS if name in facts and not crypto.is_current(facts[name])]
        if not older:
            continue
        try:
            again = {name: crypto.seal_text(crypto.unseal_text(facts[name])) for name in older}
        except UnreadableSecret:
            count.unreadable += 1
            continue
        # A recovery code that is used meanwhile changes the same column.
        if Authenticator.objects.filter(pk=pk, data=facts).update(data=facts | again):
            count.resealed += 1
        else:
            count.changed_meanwhile += 1
    return count
