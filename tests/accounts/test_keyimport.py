from __future__ import annotations

import pytest

from accounts import keyimport, keyrecord, keytext, workspaces
from accounts.errors import Invalid
from accounts.keyimport import Imported, Row
from accounts.models import ApiKey, ServiceAccount, User, Workspace

OLD = "old-service_0123456789abcdef"


@pytest.fixture
def acme(alice: User) -> Workspace:
    return workspaces.create(owner=alice, name="Acme", external_id="acme")


class TestRead:
    def test_one_key_per_line(self) -> None:
        assert keyimport.read(["one\n", "\n", " two ,Laptop\n"]) == [
            Row(line=1, key="one"),
            Row(line=2, key="two", name="Laptop"),
        ]

    def test_a_header_names_columns(self) -> None:
        assert keyimport.read(["workspace,key\n", "acme,one\n", "ws_x,two\n"]) == [
            Row(line=2, key="one", workspace="acme"),
            Row(line=3, key="two", workspace="ws_x"),
        ]

    def test_an_empty_file_has_none(self) -> None:
        assert keyimport.read(["\n"]) == []

    def test_an_unknown_column_is_named(self) -> None:
        with pytest.raises(Invalid, match="'colour'"):
            keyimport.read(["key,colour\n"])

    def test_too_many_fields_name_the_line_and_not_the_key(self) -> None:
        with pytest.raises(Invalid, match=r"^Line 2 has more fields than columns\.$"):
            keyimport.read(["key,name\n", f"{OLD},a,b\n"])


class TestImportKeys:
    def test_an_old_key_opens_its_new_workspace(self, acme: Workspace) -> None:
        assert not keytext.well_formed(OLD)
        result = keyimport.import_keys(rows=[Row(line=1, key=OLD)], workspace=acme)
        record = keyrecord.find(text=OLD)
        assert result == Imported(added=1, already=0)
        assert record is not None
        assert (record.kind, record.workspaces[0].id) == ("imported", acme.pk)
        assert "chat" in record.workspaces[0].scopes

    def test_only_its_ends_are_kept(self, acme: Workspace) -> None:
        keyimport.import_keys(rows=[Row(line=1, key=OLD)], workspace=acme)
        assert ApiKey.objects.get().hint == "old-service_…cdef"
        assert not any(OLD in str(value) for value in ApiKey.objects.values().get().values())

    def test_a_second_run_changes_nothing(self, acme: Workspace) -> None:
        rows = [Row(line=1, key=OLD)]
        keyimport.import_keys(rows=rows, workspace=acme)
        assert keyimport.import_keys(rows=rows, workspace=acme) == Imported(added=0, already=1)
        assert ApiKey.objects.count() == 1

    def test_owner_workspace_name_and_expiry_come_from_the_row(
        self, alice: User, acme: Workspace, away: Workspace
    ) -> None:
        row = Row(
            line=1,
            key=OLD,
            name="Laptop",
            workspace="acme",
            owner="Alice@example.com",
            expires_at="2099-01-01",
        )
        keyimport.import_keys(rows=[row], workspace=away)
        key = ApiKey.objects.get()
        assert (key.name, key.user) == ("Laptop", alice)
        assert key.workspaces.get() == acme
        assert key.expires_at is not None
        assert key.expires_at.isoformat() == "2099-01-01T00:00:00+00:00"

    def test_without_an_owner_a_service_account_holds_it(self, acme: Workspace) -> None:
        rows = [Row(line=1, key=OLD), Row(line=2, key=OLD + "2")]
        keyimport.import_keys(rows=rows, workspace=acme)
        bot = ServiceAccount.objects.get()
        assert (bot.workspace, bot.name, bot.role) == (acme, "imported", "developer")
        assert bot.api_keys.count() == 2

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (Row(line=2, key="short"), "16 to 256"),
            (Row(line=2, key="x" * 257), "16 to 256"),
            (Row(line=2, key="with a space 0123456"), "visible ASCII"),
            (Row(line=2, key="schlüssel-0123456789"), "visible ASCII"),
            (Row(line=2, key=OLD + "2", workspace="nowhere"), "no workspace nowhere"),
            (Row(line=2, key=OLD + "2", owner="x@example.com"), "no user x@example.com"),
            (Row(line=2, key=OLD + "2", owner="bob@example.com"), "no member"),
            (Row(line=2, key=OLD + "2", expires_at="soon"), "'soon' is no date"),
            (Row(line=2, key=OLD + "2", expires_at="2001-01-01"), "in the past"),
        ],
    )
    def test_one_bad_row_imports_nothing_and_is_named(
        self, acme: Workspace, bob: User, row: Row, message: str
    ) -> None:
        with pytest.raises(Invalid, match=message) as refusal:
            keyimport.import_keys(rows=[Row(line=1, key=OLD), row], workspace=acme)
        assert str(refusal.value).startswith("Line 2: ")
        assert row.key not in str(refusal.value)
        assert not ApiKey.objects.exists()

    def test_a_row_needs_a_workspace_from_somewhere(self, db: None) -> None:
        with pytest.raises(Invalid, match="--workspace"):
            keyimport.import_keys(rows=[Row(line=1, key=OLD)])

    def test_scopes_are_proved(self, acme: Workspace) -> None:
        with pytest.raises(Invalid, match="root"):
            keyimport.import_keys(rows=[], workspace=acme, wanted=["root"])


class TestAnyImported:
    def test_it_counts_living_ones(self, acme: Workspace) -> None:
        assert not keyimport.any_imported()
        keyimport.import_keys(rows=[Row(line=1, key=OLD)], workspace=acme)
        assert keyimport.any_imported()
