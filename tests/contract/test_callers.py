"""Every rpc declares its callers, and the documentation has the same table."""

from __future__ import annotations

import pytest

from chassis.rpc import admission, client
from provision import services
from tests.contract import callers

TABLES = callers.tables()
RPCS = [(rpc.containing_service.full_name, rpc.name) for rpc in callers.rpcs()]


def test_every_rpc_is_in_its_services_table_and_nothing_else_is() -> None:
    assert {(service, rpc) for service, table in TABLES.items() for rpc in table} == set(RPCS)


def test_reads_are_declared_idempotent() -> None:
    declared = {rpc for service in TABLES for rpc in client.idempotent_rpcs(service)}
    reads = {
        f"{service}/{rpc}"
        for service, rpc in RPCS
        if rpc.startswith(("Get", "List", "Count", "Search", "BatchGet", "BatchList"))
    }
    assert len(reads) > 30
    assert reads <= declared


def test_only_existing_services_are_callers() -> None:
    for table in TABLES.values():
        for allowed in table.values():
            named = allowed.excluded if isinstance(allowed, admission.AllExcept) else allowed
            assert isinstance(named, frozenset)
            assert named <= set(services.CALLERS)


def test_api_tokens_may_call_what_the_gateway_may_and_nothing_of_admins() -> None:
    for service, scopes in callers.scopes().items():
        assert scopes.keys() <= TABLES[service].keys()
        assert set(scopes.values()) <= {"read", "write"}
        assert all("gateway" in TABLES[service][rpc] for rpc in scopes)
        assert "Admin" not in service
    assert "repruv.auth.v1.AuthService" not in callers.scopes()
    assert "repruv.auth.v1.ApiTokenService" not in callers.scopes()


def test_documented_table_is_current() -> None:
    assert callers.DOCUMENT.read_text() == callers.page(), "write it again: python -m tests.contract.callers"


@pytest.mark.parametrize(
    ("caller", "service", "rpc"),
    [
        ("demo", "repruv.auth.v1.AuthService", "RevokeSession"),
        ("demo", "repruv.auth.v1.AuthService", "ValidateSession"),
        ("jobs", "repruv.auth.v1.AuthAdminService", "SetUserRole"),
        ("gateway", "repruv.jobs.v1.JobsService", "ClaimJobs"),
        ("gateway", "repruv.jobs.v1.JobsService", "FinishJob"),
        ("gateway", "repruv.jobs.v1.JobsService", "SubmitJob"),
        ("demo", "repruv.jobs.v1.AdminService", "SetKindLimits"),
    ],
)
def test_dangerous_calls_are_not_allowed(caller: str, service: str, rpc: str) -> None:
    assert caller not in TABLES[service].get(rpc, frozenset())
    assert (service, rpc) in RPCS
