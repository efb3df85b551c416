"""The end of an account, for what the gateway keeps a while: files, answers, digests."""

from __future__ import annotations

from accounts.models import ApiKey, User, Workspace
from proxy.models import Export, Generation, IdempotencyKey


def forget(user: User) -> None:
    """Delete the files and answers of a personal workspace at once, before their time."""
    home = Workspace.objects.filter(personal_of=user)
    Export.objects.filter(workspace__in=home).delete()
    answers = Generation.objects.filter(workspace_id__in=home.values("pk"))
    # One under way has its money to settle yet; it goes with its time, within a day.
    answers.exclude(status=Generation.Status.PENDING).delete()
    theirs = ApiKey.objects.filter(user=user)
    IdempotencyKey.objects.filter(key_id__in=theirs.values("pk")).delete()
