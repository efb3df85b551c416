from __future__ import annotations

import pytest

from accounts import scopes
from accounts.scopes import EITHER, INFERENCE, MANAGEMENT, Role, Scope


class TestOfRole:
    def test_every_role_reads_models_usage_and_billing(self) -> None:
        assert all(scopes.of_role(role) >= EITHER for role in Role)

    def test_only_some_roles_infer(self) -> None:
        may = {role for role in Role if scopes.of_role(role) & INFERENCE}
        assert may == {Role.OWNER, Role.ADMIN, Role.DEVELOPER}

    def test_a_developer_manages_nothing(self) -> None:
        assert scopes.of_role("developer") & MANAGEMENT == {Scope.KEYS_READ}

    def test_an_unknown_role_is_refused(self) -> None:
        with pytest.raises(scopes.ScopeError, match="king"):
            scopes.of_role("king")


class TestEffective:
    def test_it_is_what_key_and_role_share(self) -> None:
        assert scopes.effective(["chat", "billing:read"], "billing") == {Scope.BILLING_READ}

    @pytest.mark.parametrize("role", list(Role))
    def test_it_never_exceeds_either(self, role: Role) -> None:
        for carried in (INFERENCE, MANAGEMENT, EITHER, frozenset[Scope]()):
            result = scopes.effective(carried, role)
            assert result <= carried
            assert result <= scopes.of_role(role)


class TestCheck:
    def test_the_reads_go_with_inference(self) -> None:
        assert scopes.check(["chat", *EITHER]) == {Scope.CHAT, *EITHER}

    def test_the_reads_go_with_management(self) -> None:
        assert scopes.check(["keys:manage", *EITHER]) == {Scope.KEYS_MANAGE, *EITHER}

    @pytest.mark.parametrize("inference", sorted(INFERENCE))
    @pytest.mark.parametrize("management", sorted(MANAGEMENT))
    def test_inference_and_management_never_mix(self, inference: str, management: str) -> None:
        with pytest.raises(scopes.ScopeError, match="never both"):
            scopes.check([inference, management])

    def test_an_unknown_scope_is_named(self) -> None:
        with pytest.raises(scopes.ScopeError, match="'root'"):
            scopes.check(["chat", "root"])

    def test_none_at_all_is_refused(self) -> None:
        with pytest.raises(scopes.ScopeError, match="at least one"):
            scopes.check([])
