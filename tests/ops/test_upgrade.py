"""A new version with a migration takes the place of the old one, while calls are made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from accounts.models import Tier
from billing import invariants
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.ops.test_shutdown import balanced_call, terminate
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

PARTS = ("accounts", "billing", "proxy", "platform", "templates", "static", "locale", "manage.py")
# What the next version adds, to the table of every call: a column, and an index without a lock.
MIGRATION = """
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("billing", "{newest}")]
    operations = [
        migrations.RunSQL("alter table billing_usage add column added_by_a_deploy text"),
        migrations.RunSQL("create index concurrently added_by_a_deploy on billing_transfer (at)"),
    ]
"""
UNDO = """
drop index if exists added_by_a_deploy;
alter table billing_usage drop column if exists added_by_a_deploy
"""


def next_version(folder: Path) -> Path:
    """Another tree: this one, and a migration more."""
    for part in PARTS:
        copy = shutil.copytree if (settings.BASE_DIR / part).is_dir() else shutil.copy
        copy(settings.BASE_DIR / part, folder / part)
    migrations = folder / "billing" / "migrations"
    newest = max(path.stem for path in migrations.glob("0*.py"))
    (migrations / "9999_deploy.py").write_text(MIGRATION.format(newest=newest))
    return folder


def migrate(tree: Path) -> str:
    """Run the migrations of a version, as its operator does; return what it says."""
    told = connection.settings_dict
    place = f"{told['HOST']}:{told['PORT']}/{told['NAME']}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "migrate", "--noinput"],
        cwd=tree,
        env={
            **os.environ,
            "DATABASE_URL": f"postgres://{told['USER']}:{told['PASSWORD']}@{place}",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(tree / "platform"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_no_call_is_lost(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    tmp_path: Path,
) -> None:
    """In the order of UPGRADING.md, behind a balancer that tries the next gateway."""
    shop.fund("1000")
    Tier.objects.update(default_rpm=100_000, max_rpm=100_000)
    tree = next_version(tmp_path)
    old = GatewayProcess(SHUTDOWN_GRACE_S="30")
    new = GatewayProcess(f"--app-dir={tree}", PYTHONPATH=str(tree / "platform"))
    balanced, over = [old], threading.Event()

    def calls() -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(balanced_call(balanced, shop.secret))
        return statuses

    try:
        with old, ThreadPoolExecutor(3) as pool:
            running = [pool.submit(calls) for _ in range(3)]
            try:
                assert "Applying billing.9999_deploy... OK" in migrate(tree)
                with new:
                    before = len(shop.usage)
                    balanced.append(new)
                    terminate(old)
                    assert old.ended(within_s=30)
                    for _ in range(5):
                        assert balanced_call([new], shop.secret) == 200
                    over.set()
                    statuses = [status for each in running for status in each.result()]
            finally:
                over.set()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(UNDO)
    assert before, "the old one served while the tables changed"
    assert set(statuses) == {200}
    assert len(shop.usage) == len(statuses) + 5
    assert shop.holds == 0
    assert not [found for found in invariants.check().findings if found.violations]
