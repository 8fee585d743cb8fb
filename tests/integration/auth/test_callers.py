"""Only the gateway may call, and on behalf of a user where a call is about one."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from chassis import errors, identity
from chassis.rpc import client
from provision.services import SERVICES
from repruv.auth.v1 import admin_service_pb2, auth_pb2, auth_service_pb2
from services.auth import servicer
from services.auth.admin import servicer as admin_servicer
from tests.integration.auth.client import Gateway

PUBLIC = [method.name for method in auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].methods]
ADMIN = [method.name for method in admin_service_pb2.DESCRIPTOR.services_by_name["AuthAdminService"].methods]
RPCS = [*PUBLIC, *ADMIN]
OF_NOBODY = {
    "Register",
    "BeginGuestSession",
    "Login",
    "FinishLogin",
    "ValidateSession",
    "ValidateSessions",
    "RequestPasswordReset",
    "ResetPassword",
    "VerifyEmail",
    "ConfirmEmailChange",
    "RevokeEmailChange",
    "CancelDeletionByLink",
}
OF_A_USER = [rpc for rpc in RPCS if rpc not in OF_NOBODY]
SESSION_ID = "00000000-0000-0000-0000-000000000000"


def request(rpc: str) -> object:
    message = getattr(admin_service_pb2 if rpc in ADMIN else auth_service_pb2, f"{rpc}Request")()
    if rpc == "RevokeSession":
        message.session_id = SESSION_ID
    if rpc == "SetUserRole":
        message.role = auth_pb2.USER_ROLE_ADMIN
    return message


def test_every_rpc_names_its_callers() -> None:
    assert set(servicer.CALLERS) == set(PUBLIC)
    assert set(admin_servicer.CALLERS) == set(ADMIN)


@pytest.mark.parametrize("rpc", RPCS)
async def test_an_unsigned_call_is_refused(gateway: Gateway, rpc: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as excinfo:
        await getattr(gateway.admin_stub if rpc in ADMIN else gateway.stub, rpc)(request(rpc), timeout=60.0)
    assert excinfo.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("rpc", RPCS)
async def test_another_service_is_refused(
    channel: grpc.aio.Channel, signer: Callable[[str], identity.Signer], rpc: str, service: str
) -> None:
    foreign = Gateway(channel, client.Caller(signer(service)))
    with pytest.raises(errors.PermissionDenied) as excinfo:
        await foreign.call(rpc, request(rpc))
    assert excinfo.value.code == "caller_not_allowed"


@pytest.mark.parametrize("rpc", OF_A_USER)
async def test_calls_about_a_user_require_one(gateway: Gateway, rpc: str) -> None:
    with pytest.raises(errors.Unauthenticated):
        await gateway.call(rpc, request(rpc))


@pytest.mark.parametrize("rpc", OF_A_USER)
async def test_the_gateway_cannot_sign_a_user_identity(
    gateway: Gateway, signer: Callable[[str], identity.Signer], rpc: str
) -> None:
    account = await gateway.account()
    user = identity.User(user_id=account.user_id, role="admin", session_id=account.session_id)
    forged, _ = signer("gateway").user_token(user)
    with pytest.raises(errors.Unauthenticated):
        await gateway.call(rpc, request(rpc), user=forged)
