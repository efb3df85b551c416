from __future__ import annotations

from datetime import timedelta

import pytest

from billing import ledger
from billing.models import Hold
from tests.billing.bank import bill, customer, expire, run_django, settle, verdicts

pytestmark = pytest.mark.django_db


class TestExtend:
    def test_it_gives_open_holds_more_time_and_names_them(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(10)
        gone, _ = one.hold(10)
        settle(bill(gone, 1))
        before = Hold.objects.get(pk=hold).expires_at
        extended = run_django(ledger.EXTEND, [[hold, gone], 3600])
        assert [str(each) for each in extended] == [hold]
        assert Hold.objects.get(pk=hold).expires_at > before + timedelta(minutes=40)

    def test_it_never_shortens(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(10)
        before = Hold.objects.get(pk=hold).expires_at
        run_django(ledger.EXTEND, [[hold], 1])
        assert Hold.objects.get(pk=hold).expires_at == before


class TestExpire:
    def test_it_marks_unknown_calls_for_staff(self) -> None:
        one = customer(usd=1000)
        known, unknown = one.hold(10)[0], one.hold(10)[0]
        run_django(ledger.EXPIRE, [[known], False, False])
        assert expire(unknown) == ["ok"]
        assert {str(row.id): row.unknown for row in one.usage()} == {known: False, unknown: True}
        assert verdicts(settle(bill(known, 5), bill(unknown, 5))) == ["late", "late"]
