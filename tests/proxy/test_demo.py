from __future__ import annotations

import uuid

import msgspec
import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value

from accounts import approvals, keys, signup
from accounts.actors import Staff
from accounts.models import ApiKey, User, Workspace
from billing import ledger, orders
from billing.models import Price
from proxy import catalogue, demo
from proxy.demo import Demo
from proxy.models import Model, Provider, Route

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:9999"


def seed(previous: Demo | None = None, *, url: str = URL) -> Demo:
    known = {} if previous is None else msgspec.structs.asdict(previous)
    return demo.seed(previous=known, sandbox_url=url, sandbox_token="sandbox-token")


class TestSeed:
    def test_the_demo_customer_has_a_working_key_and_both_kinds_of_money(self) -> None:
        seeded = seed()
        workspace = Workspace.objects.get(public_id=seeded.workspace_id)
        record = keys.find(text=seeded.api_key)
        assert record is not None
        assert record.workspace(seeded.workspace_id) is not None
        assert "chat" in record.scopes
        assert ledger.balance(workspace_id=workspace.pk, asset="USD").available >= 20 * 10**9
        assert ledger.balance(workspace_id=workspace.pk, asset="TOK").available == 10_000

    def test_both_can_sign_in_and_staff_have_a_second_factor(self) -> None:
        seeded = seed()
        user = User.objects.get(email=seeded.email)
        staff = User.objects.get(email=seeded.staff_email)
        assert user.check_password(seeded.password)
        assert signup.is_verified(user)
        assert not user.is_staff
        assert staff.check_password(seeded.staff_password)
        assert staff.is_staff
        code = format_hotp_value(hotp_value(seeded.staff_totp_secret, 1))
        authenticator = Authenticator.objects.get(user=staff)
        assert authenticator.type == Authenticator.Type.TOTP
        assert len(code) == 6
        assert isinstance(authenticator.wrap(), TOTP)

    def test_a_second_one_approves_what_the_first_one_asks(self) -> None:
        seeded = seed()
        first = User.objects.get(email=seeded.staff_email)
        second = User.objects.get(email=seeded.second_staff_email)
        assert second.check_password(seeded.second_staff_password)
        order = orders.grant(
            workspace=Workspace.objects.get(public_id=seeded.workspace_id),
            asset="USD",
            amount=500 * 10**9,
            reason="A try",
            by=Staff(first),
            source=uuid.uuid4(),
        )
        assert order.approval is not None
        done = approvals.approve(approval=order.approval, by=Staff(second))
        assert done.state == "approved"

    def test_the_sandbox_is_for_sale(self) -> None:
        seed()
        snapshot = catalogue.load()
        for slug in ("sandbox/echo", "sandbox/lorem"):
            model = snapshot.models[slug]
            (route,) = model.routes
            assert model.rates.prompt > 0
            assert model.rates.completion > 0
            assert route.upstream_model == slug
            assert route.provider.base_url == f"{URL}/v1"
            assert route.provider.api_key == "sandbox-token"
            assert route.provider.on_disconnect == "cancel"
            assert route.provider.generation_lookup == "sandbox"

    def test_vectors_and_pictures_are_for_sale_too(self) -> None:
        seed()
        snapshot = catalogue.load()
        assert snapshot.models["sandbox/embedding"].rates.prompt > 0
        prices = snapshot.models["sandbox/image"].rates.image
        assert prices is not None
        assert {quality for by_quality in prices.values() for quality in by_quality} == {
            "low",
            "medium",
            "high",
        }

    def test_what_an_older_demo_lacks_is_added(self) -> None:
        first = seed()
        Route.objects.filter(model__slug="sandbox/image").delete()
        Model.objects.filter(slug="sandbox/image").delete()
        seed(first)
        assert Model.objects.filter(slug="sandbox/image", routes__enabled=True).exists()

    def test_seeding_again_changes_nothing(self) -> None:
        first = seed()
        version = catalogue.version()
        assert seed(first) == first
        assert catalogue.version() == version
        assert ApiKey.objects.count() == 1
        workspace = Workspace.objects.get(public_id=first.workspace_id)
        assert ledger.balance(workspace_id=workspace.pk, asset="TOK").available == 10_000

    def test_what_was_changed_by_hand_stays(self) -> None:
        first = seed()
        Model.objects.filter(slug="sandbox/echo").update(name="Mine", enabled=False)
        seed(first)
        assert Model.objects.get(slug="sandbox/echo").name == "Mine"
        assert not Model.objects.get(slug="sandbox/echo").enabled
        assert Price.objects.filter(subject="sandbox/echo", role="retail").count() == 1

    def test_the_sandboxs_new_address_is_followed(self) -> None:
        seed(seed(), url="http://127.0.0.1:1111")
        assert Provider.objects.get().base_url == "http://127.0.0.1:1111/v1"

    def test_a_key_that_works_no_more_is_replaced(self) -> None:
        first = seed()
        keys.disable(key=ApiKey.objects.get(), by=None)
        second = seed(first)
        assert second.api_key != first.api_key
        assert keys.find(text=second.api_key) is not None
        assert second.password == first.password

    def test_without_what_was_printed_new_logins_are_made(self) -> None:
        first = seed()
        second = seed()
        assert second.workspace_id == first.workspace_id
        assert second.staff_totp_secret == first.staff_totp_secret
        assert User.objects.get(email=second.email).check_password(second.password)
