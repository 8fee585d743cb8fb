"""AuthService over gRPC: a request in, an operation, a response out."""

from __future__ import annotations

import uuid
from typing import Any

import grpc

from chassis import errors, identity, ids
from repruv.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from services.auth import convert, domain
from services.auth.operations import Operations

SERVICE = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name

_GATEWAY = frozenset({"gateway"})
CALLERS = {
    "Register": _GATEWAY,
    "Login": _GATEWAY,
    "ValidateSession": _GATEWAY,
    "ListSessions": _GATEWAY,
    "RevokeSession": _GATEWAY,
    "RevokeAllSessions": _GATEWAY,
    "FinishLogin": _GATEWAY,
    "Reauthenticate": _GATEWAY,
    "ChangePassword": _GATEWAY,
    "RequestPasswordReset": _GATEWAY,
    "ResetPassword": _GATEWAY,
    "RequestEmailVerification": _GATEWAY,
    "VerifyEmail": _GATEWAY,
    "BeginTotp": _GATEWAY,
    "ConfirmTotp": _GATEWAY,
    "DisableTotp": _GATEWAY,
    "RegenerateRecoveryCodes": _GATEWAY,
    "GetSecurity": _GATEWAY,
}

Context = grpc.aio.ServicerContext[Any, Any]


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """The rpcs; errors are raised and mapped by the server."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def Register(
        self, request: auth_service_pb2.RegisterRequest, context: Context
    ) -> auth_service_pb2.RegisterResponse:
        begun = await self._operations.register(
            email=request.email,
            password=request.password,
            name=request.name,
            client=convert.client_from_proto(request.client),
        )
        return auth_service_pb2.RegisterResponse(
            user=convert.user_to_proto(begun.user), session=convert.session_to_proto(begun.session), token=begun.token
        )

    async def Login(self, request: auth_service_pb2.LoginRequest, context: Context) -> auth_service_pb2.LoginResponse:
        begun = await self._operations.login(
            email=request.email, password=request.password, client=convert.client_from_proto(request.client)
        )
        return auth_service_pb2.LoginResponse(
            user=convert.user_to_proto(begun.user), session=convert.session_to_proto(begun.session), token=begun.token
        )

    async def ValidateSession(
        self, request: auth_service_pb2.ValidateSessionRequest, context: Context
    ) -> auth_service_pb2.ValidateSessionResponse:
        validated = await self._operations.validate_session(request.token)
        return auth_service_pb2.ValidateSessionResponse(
            user=convert.user_to_proto(validated.user),
            session=convert.session_to_proto(validated.session),
            identity=validated.identity,
            identity_expire_time=convert.timestamp(validated.identity_expires_at),
        )

    async def ListSessions(
        self, request: auth_service_pb2.ListSessionsRequest, context: Context
    ) -> auth_service_pb2.ListSessionsResponse:
        found = await self._operations.list_sessions(_user_id())
        return auth_service_pb2.ListSessionsResponse(sessions=map(convert.session_to_proto, found))

    async def RevokeSession(
        self, request: auth_service_pb2.RevokeSessionRequest, context: Context
    ) -> auth_service_pb2.RevokeSessionResponse:
        session_id = ids.parse(request.session_id, "session_id")
        await self._operations.revoke_session(_user_id(), session_id, domain.read_revoke_reason(request.reason))
        return auth_service_pb2.RevokeSessionResponse()

    async def RevokeAllSessions(
        self, request: auth_service_pb2.RevokeAllSessionsRequest, context: Context
    ) -> auth_service_pb2.RevokeAllSessionsResponse:
        keep = ids.parse(request.except_session_id, "except_session_id") if request.except_session_id else None
        revoked_count = await self._operations.revoke_all_sessions(_user_id(), keep=keep)
        return auth_service_pb2.RevokeAllSessionsResponse(revoked_count=revoked_count)

    async def FinishLogin(
        self, request: auth_service_pb2.FinishLoginRequest, context: Context
    ) -> auth_service_pb2.FinishLoginResponse:
        raise errors.Unavailable("This is not served yet.")

    async def Reauthenticate(
        self, request: auth_service_pb2.ReauthenticateRequest, context: Context
    ) -> auth_service_pb2.ReauthenticateResponse:
        raise errors.Unavailable("This is not served yet.")

    async def ChangePassword(
        self, request: auth_service_pb2.ChangePasswordRequest, context: Context
    ) -> auth_service_pb2.ChangePasswordResponse:
        raise errors.Unavailable("This is not served yet.")

    async def RequestPasswordReset(
        self, request: auth_service_pb2.RequestPasswordResetRequest, context: Context
    ) -> auth_service_pb2.RequestPasswordResetResponse:
        raise errors.Unavailable("This is not served yet.")

    async def ResetPassword(
        self, request: auth_service_pb2.ResetPasswordRequest, context: Context
    ) -> auth_service_pb2.ResetPasswordResponse:
        raise errors.Unavailable("This is not served yet.")

    async def RequestEmailVerification(
        self, request: auth_service_pb2.RequestEmailVerificationRequest, context: Context
    ) -> auth_service_pb2.RequestEmailVerificationResponse:
        raise errors.Unavailable("This is not served yet.")

    async def VerifyEmail(
        self, request: auth_service_pb2.VerifyEmailRequest, context: Context
    ) -> auth_service_pb2.VerifyEmailResponse:
        raise errors.Unavailable("This is not served yet.")

    async def BeginTotp(
        self, request: auth_service_pb2.BeginTotpRequest, context: Context
    ) -> auth_service_pb2.BeginTotpResponse:
        raise errors.Unavailable("This is not served yet.")

    async def ConfirmTotp(
        self, request: auth_service_pb2.ConfirmTotpRequest, context: Context
    ) -> auth_service_pb2.ConfirmTotpResponse:
        raise errors.Unavailable("This is not served yet.")

    async def DisableTotp(
        self, request: auth_service_pb2.DisableTotpRequest, context: Context
    ) -> auth_service_pb2.DisableTotpResponse:
        raise errors.Unavailable("This is not served yet.")

    async def RegenerateRecoveryCodes(
        self, request: auth_service_pb2.RegenerateRecoveryCodesRequest, context: Context
    ) -> auth_service_pb2.RegenerateRecoveryCodesResponse:
        raise errors.Unavailable("This is not served yet.")

    async def GetSecurity(
        self, request: auth_service_pb2.GetSecurityRequest, context: Context
    ) -> auth_service_pb2.GetSecurityResponse:
        raise errors.Unavailable("This is not served yet.")


def _user_id() -> uuid.UUID:
    return uuid.UUID(identity.caller().require_user().user_id)
