"""Prompts that a workspace chose to keep: who reads them, and when they go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx
import psycopg
import pytest
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from accounts import keys, members, promptlogging, service_accounts, signup, workspaces
from accounts.actors import Staff
from accounts.errors import Conflict, Forbidden, Invalid, Missing
from accounts.keyrecord import find
from accounts.models import ApiKey, AuditEvent, User
from accounts.promptlogging import Wish
from common import crypto, ids, origin
from proxy import api_exportkinds, exports, prompts
from proxy.connection import conninfo
from proxy.meters import meters
from proxy.models import Export, PromptErasure, PromptLog
from proxy.tasks import tidy_kept
from tests import pages
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello, request_id

PROMPT, ANSWER = "a-canary-that-asks", "a-canary-that-answers"
CHAT = "/v1/chat/completions"


pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def another_connection() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A transaction of its own, ended with the block."""
    with psycopg.connect(conninfo()) as other:
        yield other


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def switch(shop: Shop, *, on: bool = True, days: int = 7, forget: bool = False) -> None:
    wish = Wish(enabled=on, days=days, forget=forget)
    promptlogging.change(workspace=shop.workspace, wish=wish, by=shop.user)
    shop.workspace.refresh_from_db()


def written(shop: Shop, *, ago: timedelta = timedelta(0), words: str = PROMPT) -> PromptLog:
    """One call's words, as the scribe writes them."""
    plain = json.dumps({"request": f'"{words}"', "answer": f'"{ANSWER}"'}).encode()
    sealed, key_id = crypto.seal(plain)
    return PromptLog.objects.create(
        id=ids.request_id(),
        workspace_id=shop.workspace.pk,
        key_id=shop.key.pk,
        sealed=sealed,
        sealed_key_id=key_id,
        bytes=len(plain),
        created_at=timezone.now() - ago,
    )


class TestAGateway:
    def test_keeps_the_words_of_completed_calls_where_it_is_switched_on(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        body = hello() | {"messages": [{"role": "user", "content": PROMPT}]}
        upstream.script(fake.completion(ANSWER))
        assert client.post(CHAT, json=body).status_code == 200
        # The very next call after the switch is kept, though the key was read before it.
        switch(shop)
        upstream.script(fake.completion(ANSWER))
        whole = client.post(CHAT, json=body | {"temperature": 0.5})
        upstream.reset()
        stream = client.post(CHAT, json=body | {"stream": True})
        answer = client.post("/v1/responses", json={"model": "test/tokens", "input": PROMPT})
        upstream.script(fake.answer({"error": {"message": "no"}}, status=400))
        assert client.post(CHAT, json=body).status_code == 400
        until(lambda: PromptLog.objects.count() == 3)
        assert set(PromptLog.objects.values_list("id", flat=True)) == {
            request_id(each) for each in (whole, stream, answer)
        }

        kept = prompts.read(request_id=request_id(whole), workspace=shop.workspace, by=shop.user)
        assert kept.words is not None
        assert json.loads(kept.words.request) == body | {"temperature": 0.5}
        assert json.loads(kept.words.answer) == whole.json()
        streamed = prompts.read(
            request_id=request_id(stream), workspace=shop.workspace, by=shop.user
        )
        assert streamed.words is not None
        [choice] = json.loads(streamed.words.answer)["choices"]
        said = [
            json.loads(line[6:])["choices"]
            for line in stream.text.splitlines()
            if line.startswith("data: {")
        ]
        told = "".join(each[0]["delta"].get("content") or "" for each in said if each)
        assert choice["message"]["content"] == told != ""
        assert choice["finish_reason"] == "stop"

        upstream.reset()
        switch(shop, on=False, forget=True)
        assert client.post(CHAT, json=body).status_code == 200
        assert shop.usage[-1].state == "settled"
        assert not PromptLog.objects.exists()

    def test_keeps_none_of_a_key_that_is_excepted(
        self, client: httpx.Client, shop: Shop, gateway: GatewayServer
    ) -> None:
        switch(shop)
        _, silent = shop.new_key(prompt_logging=False)
        with gateway.client(silent) as other:
            assert other.post(CHAT, json=hello()).status_code == 200
        kept = client.post(CHAT, json=hello())
        until(PromptLog.objects.exists)
        assert PromptLog.objects.get().id == request_id(kept)

    def test_takes_the_exception_from_the_form_of_a_new_key(self, shop: Shop) -> None:
        browser = pages.browser(shop.user)
        form = {"name": "silent", "scopes": ["chat"], "workspaces": [shop.workspace.public_id]}
        assert "no_prompts" not in browser.get("/dashboard/keys/new").content.decode()
        switch(shop)
        assert "no_prompts" in browser.get("/dashboard/keys/new").content.decode()
        made = browser.post("/dashboard/keys/new", form | {"no_prompts": "on"})
        assert made.status_code == 200
        key = ApiKey.objects.get(name="silent")
        assert not key.prompt_logging
        shown = browser.get(f"/dashboard/keys/{key.public_id}").content.decode()
        assert "never kept" in shown

    def test_answers_while_prompts_cannot_be_written(
        self, client: httpx.Client, shop: Shop
    ) -> None:
        switch(shop)
        with another_connection() as other:
            other.execute(
                "select from accounts_workspace where id = %s for update", [shop.workspace.pk]
            )
            asked = [client.post(CHAT, json=hello()) for _ in range(3)]
            assert {each.status_code for each in asked} == {200}
            assert {each.state for each in shop.usage} == {"settled"}
            assert not PromptLog.objects.exists()
        until(lambda: PromptLog.objects.count() == 3)

    def test_writes_nothing_after_it_was_switched_off_meanwhile(
        self, client: httpx.Client, gateway: GatewayServer, shop: Shop
    ) -> None:
        switch(shop)
        with another_connection() as other:
            other.execute(
                "update accounts_workspace set prompt_logging = false where id = %s",
                [shop.workspace.pk],
            )
            assert client.post(CHAT, json=hello()).status_code == 200
            until(waiting_for_locks)
        # What waited may read the switch only once it has the lock: after the next one, else.
        scribe = gateway.application.gateway.runtime.scribe
        until(lambda: not scribe.waiting)
        switch(shop, on=True)
        kept = client.post(CHAT, json=hello())
        until(PromptLog.objects.exists)
        assert PromptLog.objects.get().id == request_id(kept)

    def test_drops_and_counts_what_has_no_room(
        self, client: httpx.Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        switch(shop)
        before = dropped("full")
        with monkeypatch.context() as patch:
            patch.setattr("proxy.scribe.MOST_WAITING_BYTES", 10)
            assert client.post(CHAT, json=hello()).status_code == 200
        assert dropped("full") == before + 1
        kept = client.post(CHAT, json=hello())
        until(PromptLog.objects.exists)
        assert PromptLog.objects.get().id == request_id(kept)


def test_what_may_be_dropped_is_counted_from_nothing_on() -> None:
    # A figure that appears with its first drop never increased: no alert would see it.
    told = meters().prompts_dropped.metric.collect()
    causes = [sample.labels["cause"] for family in told for sample in family.samples]
    assert {"full", "failed", "stopped"} <= set(causes)


def dropped(cause: str) -> float:
    value: float = meters().prompts_dropped.of(cause)._value.get()
    return value


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query like '%proxy_promptlog%'"
        )
        return int(cursor.fetchone()[0])


class TestReading:
    def test_is_for_owners_and_admins_in_their_own_name(self, shop: Shop) -> None:
        kept = written(shop)
        roles = {}
        for role in ("admin", "developer", "billing", "viewer"):
            roles[role] = signup.register(
                email=f"{role}@example.com", password=pages.PASSWORD, verified=True
            )
            members.add(workspace=shop.workspace, user=roles[role], role=role, by=shop.user)
        readers = {"owner": shop.user} | roles
        may = {
            name
            for name, user in readers.items()
            if promptlogging.may_read(workspace=shop.workspace, by=user)
        }
        assert may == {"owner", "admin"}
        with pytest.raises(Forbidden):
            prompts.read(request_id=kept.id, workspace=shop.workspace, by=roles["developer"])
        for operator in (None, Staff(shop.user)):
            with pytest.raises(Forbidden):
                prompts.read(request_id=kept.id, workspace=shop.workspace, by=operator)
        looked = origin.during(origin.Origin(impersonator_id=1))
        with looked, pytest.raises(Forbidden):
            prompts.read(request_id=kept.id, workspace=shop.workspace, by=shop.user)
        User.objects.filter(pk=shop.user.pk).update(is_staff=True)
        with pytest.raises(Forbidden):
            prompts.read(request_id=kept.id, workspace=shop.workspace, by=shop.user)
        assert not AuditEvent.objects.filter(action="prompt.read").exists()

    def test_is_written_down(self, shop: Shop) -> None:
        kept = written(shop)
        found = prompts.read(request_id=kept.id, workspace=shop.workspace, by=shop.user)
        assert found.words is not None
        assert PROMPT in found.words.request
        assert found.expires_at - found.created_at == timedelta(days=7)
        event = AuditEvent.objects.get(action="prompt.read")
        assert (event.workspace_id, event.user_id) == (shop.workspace.pk, shop.user.pk)
        assert event.target == ids.form("req_", kept.id)

    def test_finds_none_of_another_workspace(self, shop: Shop) -> None:
        kept = written(shop)
        other = workspaces.create(owner=shop.user, name="Other")
        with pytest.raises(Missing):
            prompts.read(request_id=kept.id, workspace=other, by=shop.user)

    def test_says_so_where_the_sealing_key_is_gone(self, shop: Shop) -> None:
        kept = written(shop)
        PromptLog.objects.update(sealed_key_id="gone")
        found = prompts.read(request_id=kept.id, workspace=shop.workspace, by=shop.user)
        assert found.words is None

    def test_by_the_api_takes_the_scope_of_the_audit_log(
        self, shop: Shop, gateway: GatewayServer
    ) -> None:
        kept = written(shop)
        path = f"/api/v1/logs/{ids.form('req_', kept.id)}/prompt"
        _, reads_usage = shop.new_key(scopes=["usage:read", "keys:read"])
        _, reads = shop.new_key(scopes=["audit:read"])
        with gateway.client(reads_usage) as client:
            assert client.get(path).status_code == 403
        with gateway.client(reads) as client:
            answer = client.get(path)
            assert answer.json()["request"] == f'"{PROMPT}"'
            assert answer.headers["cache-control"] == "no-store"
            assert client.get("/api/v1/logs/req_nothing/prompt").status_code == 404
        assert AuditEvent.objects.filter(action="prompt.read").count() == 1

    def test_on_a_page_takes_a_press_of_a_button(self, shop: Shop, client: httpx.Client) -> None:
        switch(shop)
        answered = client.post(CHAT, json=hello())
        until(PromptLog.objects.exists)
        browser = pages.browser(shop.user)
        page = f"/dashboard/logs/{ids.form('req_', request_id(answered))}"
        shown = browser.get(page).content.decode()
        assert "show-prompt" in shown
        assert "Say hello." not in shown
        assert browser.get(f"{page}/prompt").status_code == 405
        assert "Say hello." in browser.post(f"{page}/prompt").content.decode()
        assert browser.post("/dashboard/logs/nonsense/prompt").status_code == 404
        PromptLog.objects.all().delete()
        assert "show-prompt" not in browser.get(page).content.decode()
        assert browser.post(f"{page}/prompt").status_code == 302


class TestASwitch:
    def test_is_an_owners_alone(self, shop: Shop) -> None:
        admin = signup.register(email="b@example.com", password=pages.PASSWORD, verified=True)
        members.add(workspace=shop.workspace, user=admin, role="admin", by=shop.user)
        wish = Wish(enabled=True, days=1)
        for by in (admin, None, Staff(shop.user)):
            with pytest.raises(Forbidden):
                promptlogging.change(workspace=shop.workspace, wish=wish, by=by)
        with pytest.raises(Conflict):
            promptlogging.change(workspace=shop.workspace, wish=wish, by=shop.user, version="old")
        switch(shop, days=3)
        event = AuditEvent.objects.get(action="workspace.prompt_logging_changed")
        assert event.after == {"prompt_logging": True, "prompt_days": 3}

    def test_stays_within_what_the_operator_allows(self, shop: Shop) -> None:
        for days in (0, 31):
            with pytest.raises(Invalid):
                switch(shop, days=days)
        with override_settings(PROMPT_LOG_MAX_DAYS=5):
            with pytest.raises(Invalid, match="1 to 5"):
                switch(shop, days=6)
            switch(shop, days=5)
        with override_settings(PROMPT_LOG_MAX_DAYS=0), pytest.raises(Invalid, match="operator"):
            switch(shop, days=1)

    def test_reaches_the_copies_of_keys(self, shop: Shop) -> None:
        before = find(text=shop.secret)
        switch(shop)
        after = find(text=shop.secret)
        assert before is not None
        assert after is not None
        assert after.version > before.version
        assert [each.workspaces[0].prompt_logging for each in (before, after)] == [False, True]
        keys.update(key=shop.key, by=shop.user, prompt_logging=False)
        changed = find(text=shop.secret)
        assert changed is not None
        assert not changed.workspaces[0].prompt_logging

    def test_asks_the_api_what_becomes_of_what_is_kept(
        self, shop: Shop, gateway: GatewayServer
    ) -> None:
        path = f"/api/v1/workspaces/{shop.workspace.public_id}/prompt-logging"
        _, secret = shop.new_key(scopes=["members:manage"])
        with gateway.client(secret) as client:
            off = client.get(path).json()
            assert (off["enabled"], off["most_days"]) == (False, 30)
            changed = client.patch(path, json={"enabled": True, "version": off["version"]}).json()
            assert changed["enabled"]
            written(shop)
            refused = client.patch(path, json={"enabled": False})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "delete_kept")
            stale = {"enabled": False, "delete_kept": True, "version": off["version"]}
            assert client.patch(path, json=stale).status_code == 409
            assert client.patch(path, json={"days": 9}).json()["days"] == 9
            client.patch(path, json={"enabled": False, "delete_kept": False})
            assert PromptLog.objects.exists()
            client.patch(path, json={"enabled": False, "delete_kept": True})
        assert not PromptLog.objects.exists()

    def test_is_made_on_the_page_of_settings(self, shop: Shop) -> None:
        browser = pages.browser(shop.user)
        shown = browser.get("/dashboard/settings").content.decode()
        version = promptlogging.version(shop.workspace)
        assert version in shown
        form = {"enabled": "on", "days": "4", "version": version}
        browser.post("/dashboard/settings/prompts", form)
        shop.workspace.refresh_from_db()
        assert (shop.workspace.prompt_logging, shop.workspace.prompt_days) == (True, 4)
        written(shop)
        for wrong in ({"days": "x"}, {"days": "99"}, {"version": version}):
            browser.post("/dashboard/settings/prompts", form | wrong)
        shop.workspace.refresh_from_db()
        assert (shop.workspace.prompt_logging, shop.workspace.prompt_days) == (True, 4)
        version = promptlogging.version(shop.workspace)
        off = {"days": "4", "version": version, "forget": "on"}
        browser.post("/dashboard/settings/prompts", off)
        shop.workspace.refresh_from_db()
        assert not shop.workspace.prompt_logging
        assert not PromptLog.objects.exists()
        with override_settings(PROMPT_LOG_MAX_DAYS=0):
            assert "prompts-enabled" not in browser.get("/dashboard/settings").content.decode()


class TestTheEnd:
    def test_comes_when_the_days_are_over(self, shop: Shop) -> None:
        old, young = written(shop, ago=timedelta(days=8)), written(shop, ago=timedelta(days=6))
        assert not prompts.is_kept(request_id=old.id, workspace=shop.workspace)
        assert prompts.is_kept(request_id=young.id, workspace=shop.workspace)
        tidy_kept()
        assert [each.id for each in PromptLog.objects.all()] == [young.id]
        # A shorter time holds for what is kept already.
        switch(shop, days=5)
        assert not prompts.is_kept(request_id=young.id, workspace=shop.workspace)
        tidy_kept()
        assert not PromptLog.objects.exists()

    def test_comes_when_the_operator_forbids_it(self, shop: Shop) -> None:
        kept = written(shop)
        with override_settings(PROMPT_LOG_MAX_DAYS=0):
            assert not prompts.is_kept(request_id=kept.id, workspace=shop.workspace)
            tidy_kept()
        assert not PromptLog.objects.exists()

    @pytest.mark.parametrize("what", ["key", "workspace"])
    def test_comes_with_the_end_of_a_key_or_workspace(self, shop: Shop, what: str) -> None:
        other = workspaces.create(owner=shop.user, name="Other", by=shop.user)
        robot = service_accounts.create(
            workspace=other, name="robot", role="developer", by=shop.user
        )
        key, _ = keys.create(
            name="k", workspaces=[other], service_account=robot, by=shop.user, scopes=["chat"]
        )
        stays, goes = written(shop), written(shop)
        PromptLog.objects.filter(pk=goes.pk).update(workspace_id=other.pk, key_id=key.pk)
        file = Export.objects.create(
            workspace=other, kind="prompts", expires_at=timezone.now() + timedelta(1)
        )
        if what == "workspace":
            workspaces.close(workspace=other, by=shop.user)
        else:
            keys.delete(key=key, by=shop.user)
        assert [each.id for each in PromptLog.objects.all()] == [stays.id]
        assert not Export.objects.filter(pk=file.pk).exists()
        assert not PromptErasure.objects.exists()

    def test_of_many_is_told_at_once_and_done_in_batches(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prompts, "BATCH", 2)
        switch(shop)
        many = [written(shop) for _ in range(7)]
        switch(shop, on=False, forget=True)
        assert PromptLog.objects.count() == 5
        switch(shop, on=True)
        new = written(shop)
        left = [
            each.id
            for each in (*many, new)
            if prompts.is_kept(request_id=each.id, workspace=shop.workspace)
        ]
        assert left == [new.id]
        tidy_kept()
        assert [each.id for each in PromptLog.objects.all()] == [new.id]
        assert not PromptErasure.objects.exists()


class TestAnExport:
    def test_has_the_words_of_all_calls(self, shop: Shop) -> None:
        for number in range(12):
            written(shop, ago=timedelta(minutes=number), words=f"{PROMPT}-{number}")
        file = exports.create(
            workspace=shop.workspace, kind="prompts", query={}, rows_expected=None, by=shop.user
        )
        assert not api_exportkinds.build(public_id=file.public_id)
        file.refresh_from_db()
        text = b"".join(exports.texts(file)).decode()
        assert (file.rows, file.pieces) == (12, 2)
        assert all(f"{PROMPT}-{number}" in text for number in range(12))
        browser = pages.browser(shop.user)
        assert browser.get(f"/dashboard/exports/{file.public_id}.csv").status_code == 200
        assert AuditEvent.objects.filter(action="export.read").count() == 1

    def test_is_for_those_who_may_read_them(self, shop: Shop) -> None:
        viewer = signup.register(email="v@example.com", password=pages.PASSWORD, verified=True)
        members.add(workspace=shop.workspace, user=viewer, role="viewer", by=shop.user)
        file = exports.create(
            workspace=shop.workspace, kind="prompts", query={}, rows_expected=None, by=shop.user
        )
        api_exportkinds.build(public_id=file.public_id)
        browser = pages.browser(viewer)
        browser.post("/dashboard/workspace", {"workspace": shop.workspace.public_id})
        assert "export-prompts" not in browser.get("/dashboard/exports").content.decode()
        assert browser.post("/dashboard/exports", {"kind": "prompts"}).status_code == 403
        assert (
            "export-prompts" in pages.browser(shop.user).get("/dashboard/exports").content.decode()
        )
        _, reads = shop.new_key(scopes=["usage:read"])
        headers = {"authorization": f"Bearer {reads}"}
        api = Client(headers=headers)
        asked = api.post("/api/v1/exports", {"kind": "prompts"}, content_type="application/json")
        assert asked.status_code == 403
        assert api.get(f"/api/v1/exports/{file.public_id}/file").status_code == 404
        # Staff that owns a workspace: not by this way either.
        User.objects.filter(pk=shop.user.pk).update(is_staff=True)
        with pytest.raises(Forbidden):
            promptlogging.require_reader(workspace=shop.workspace, by=shop.user)
