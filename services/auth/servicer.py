"""AuthService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

import uuid
from typing import Any

import grpc

from chassis import errors, identity, ids, protobuf
from repruv.auth.v1 import auth_pb2, auth_service_pb2, auth_service_pb2_grpc
from services.auth import convert, domain
from services.auth.accounts import validation
from services.auth.accounts.operations import Accounts
from services.auth.accounts.recovery import Recovery
from services.auth.context import Context
from services.auth.second_factor.operations import SecondFactor
from services.auth.sessions.operations import Sessions, ValidatedSession
from services.auth.sign_in.operations import ChallengeRequired, SignIn

SERVICE = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name

_GATEWAY = frozenset({"gateway"})
CALLERS = {
    "Register": _GATEWAY,
    "Login": _GATEWAY,
    "FinishLogin": _GATEWAY,
    "ValidateSession": _GATEWAY,
    "ValidateSessions": _GATEWAY,
    "Reauthenticate": _GATEWAY,
    "ListSessions": _GATEWAY,
    "RevokeSession": _GATEWAY,
    "RevokeAllSessions": _GATEWAY,
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

MAX_BATCH = 100
"""Tokens that one ValidateSessions call may hold."""

RpcContext = grpc.aio.ServicerContext[Any, Any]


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context) -> None:
        self._accounts = Accounts(context)
        self._sign_in = SignIn(context)
        self._sessions = Sessions(context)
        self._recovery = Recovery(context)
        self._second_factor = SecondFactor(context)
        self._verification_period = context.verification_period

    async def Register(
        self, request: auth_service_pb2.RegisterRequest, context: RpcContext
    ) -> auth_service_pb2.RegisterResponse:
        new = await self._accounts.register(
            email=request.email,
            password=request.password,
            name=request.name,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        if new is None:
            return auth_service_pb2.RegisterResponse()
        return auth_service_pb2.RegisterResponse(
            user=self._user(new.user), session=convert.session_to_proto(new.session), token=new.token
        )

    async def Login(
        self, request: auth_service_pb2.LoginRequest, context: RpcContext
    ) -> auth_service_pb2.LoginResponse:
        new = await self._sign_in.login(
            email=request.email,
            password=request.password,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        if isinstance(new, ChallengeRequired):
            return auth_service_pb2.LoginResponse(
                challenge=new.challenge, challenge_expire_time=protobuf.to_timestamp(new.expires_at)
            )
        return auth_service_pb2.LoginResponse(
            user=self._user(new.user), session=convert.session_to_proto(new.session), token=new.token
        )

    async def FinishLogin(
        self, request: auth_service_pb2.FinishLoginRequest, context: RpcContext
    ) -> auth_service_pb2.FinishLoginResponse:
        new = await self._sign_in.finish_login(
            challenge=request.challenge, code=request.code, client=convert.client_from_proto(request.client)
        )
        return auth_service_pb2.FinishLoginResponse(
            user=self._user(new.user), session=convert.session_to_proto(new.session), token=new.token
        )

    async def ValidateSession(
        self, request: auth_service_pb2.ValidateSessionRequest, context: RpcContext
    ) -> auth_service_pb2.ValidateSessionResponse:
        return self._validated(await self._sessions.validate_session(request.token, passive=request.passive))

    async def ValidateSessions(
        self, request: auth_service_pb2.ValidateSessionsRequest, context: RpcContext
    ) -> auth_service_pb2.ValidateSessionsResponse:
        if not 1 <= len(request.sessions) <= MAX_BATCH:
            raise errors.InvalidArgument(f"sessions must be 1 to {MAX_BATCH}.", field="sessions")
        queries = [(each.token, each.passive) for each in request.sessions]
        response = auth_service_pb2.ValidateSessionsResponse()
        for validated in await self._sessions.validate_sessions(queries):
            response.results.add(validated=self._validated(validated) if validated else None)
        return response

    def _validated(self, validated: ValidatedSession) -> auth_service_pb2.ValidateSessionResponse:
        return auth_service_pb2.ValidateSessionResponse(
            user=self._user(validated.user),
            session=convert.session_to_proto(validated.session),
            identity=validated.identity,
            identity_expire_time=protobuf.to_timestamp(validated.identity_expires_at),
            is_renewed=validated.is_renewed,
        )

    async def Reauthenticate(
        self, request: auth_service_pb2.ReauthenticateRequest, context: RpcContext
    ) -> auth_service_pb2.ReauthenticateResponse:
        session, token = await self._sign_in.reauthenticate(
            actor(),
            password=request.password,
            code=request.code,
            client=convert.client_from_proto(request.client),
        )
        return auth_service_pb2.ReauthenticateResponse(session=convert.session_to_proto(session), token=token)

    async def ListSessions(
        self, request: auth_service_pb2.ListSessionsRequest, context: RpcContext
    ) -> auth_service_pb2.ListSessionsResponse:
        sessions = await self._sessions.list_sessions(actor().user_id)
        return auth_service_pb2.ListSessionsResponse(sessions=map(convert.session_to_proto, sessions))

    async def RevokeSession(
        self, request: auth_service_pb2.RevokeSessionRequest, context: RpcContext
    ) -> auth_service_pb2.RevokeSessionResponse:
        session_id = ids.parse(request.session_id, "session_id")
        reason = validation.parse_revoke_reason(request.reason)
        await self._sessions.revoke_session(actor(), session_id, reason)
        return auth_service_pb2.RevokeSessionResponse()

    async def RevokeAllSessions(
        self, request: auth_service_pb2.RevokeAllSessionsRequest, context: RpcContext
    ) -> auth_service_pb2.RevokeAllSessionsResponse:
        keep = ids.parse(request.except_session_id, "except_session_id") if request.except_session_id else None
        revoked_count = await self._sessions.revoke_all_sessions(actor(), keep=keep)
        return auth_service_pb2.RevokeAllSessionsResponse(revoked_count=revoked_count)

    async def ChangePassword(
        self, request: auth_service_pb2.ChangePasswordRequest, context: RpcContext
    ) -> auth_service_pb2.ChangePasswordResponse:
        changed = await self._recovery.change_password(
            actor(),
            current=request.current_password,
            new=request.new_password,
            client=convert.client_from_proto(request.client),
        )
        return auth_service_pb2.ChangePasswordResponse(
            session=convert.session_to_proto(changed.session), token=changed.token, revoked_count=changed.revoked_count
        )

    async def RequestPasswordReset(
        self, request: auth_service_pb2.RequestPasswordResetRequest, context: RpcContext
    ) -> auth_service_pb2.RequestPasswordResetResponse:
        await self._recovery.request_reset(email=request.email, client=convert.client_from_proto(request.client))
        return auth_service_pb2.RequestPasswordResetResponse()

    async def ResetPassword(
        self, request: auth_service_pb2.ResetPasswordRequest, context: RpcContext
    ) -> auth_service_pb2.ResetPasswordResponse:
        await self._recovery.reset_password(
            token=request.token, password=request.password, client=convert.client_from_proto(request.client)
        )
        return auth_service_pb2.ResetPasswordResponse()

    async def RequestEmailVerification(
        self, request: auth_service_pb2.RequestEmailVerificationRequest, context: RpcContext
    ) -> auth_service_pb2.RequestEmailVerificationResponse:
        await self._recovery.request_verification(actor())
        return auth_service_pb2.RequestEmailVerificationResponse()

    async def VerifyEmail(
        self, request: auth_service_pb2.VerifyEmailRequest, context: RpcContext
    ) -> auth_service_pb2.VerifyEmailResponse:
        await self._recovery.verify_email(token=request.token, client=convert.client_from_proto(request.client))
        return auth_service_pb2.VerifyEmailResponse()

    async def BeginTotp(
        self, request: auth_service_pb2.BeginTotpRequest, context: RpcContext
    ) -> auth_service_pb2.BeginTotpResponse:
        pending = await self._second_factor.begin(actor())
        return auth_service_pb2.BeginTotpResponse(
            secret=pending.secret, uri=pending.uri, expire_time=protobuf.to_timestamp(pending.expires_at)
        )

    async def ConfirmTotp(
        self, request: auth_service_pb2.ConfirmTotpRequest, context: RpcContext
    ) -> auth_service_pb2.ConfirmTotpResponse:
        enabled = await self._second_factor.confirm(actor(), request.code)
        return auth_service_pb2.ConfirmTotpResponse(
            recovery_codes=enabled.recovery_codes,
            session=convert.session_to_proto(enabled.session),
            token=enabled.token,
        )

    async def DisableTotp(
        self, request: auth_service_pb2.DisableTotpRequest, context: RpcContext
    ) -> auth_service_pb2.DisableTotpResponse:
        session, token = await self._second_factor.disable(actor(), request.code)
        return auth_service_pb2.DisableTotpResponse(session=convert.session_to_proto(session), token=token)

    async def RegenerateRecoveryCodes(
        self, request: auth_service_pb2.RegenerateRecoveryCodesRequest, context: RpcContext
    ) -> auth_service_pb2.RegenerateRecoveryCodesResponse:
        recovery_codes = await self._second_factor.regenerate_recovery_codes(actor())
        return auth_service_pb2.RegenerateRecoveryCodesResponse(recovery_codes=recovery_codes)

    async def GetSecurity(
        self, request: auth_service_pb2.GetSecurityRequest, context: RpcContext
    ) -> auth_service_pb2.GetSecurityResponse:
        security = await self._accounts.get_security(actor())
        since = security.second_factor_since
        return auth_service_pb2.GetSecurityResponse(
            user=self._user(security.user),
            password_change_time=protobuf.to_timestamp(security.password_changed_at),
            second_factor_time=protobuf.to_timestamp(since),
            recovery_codes_left=security.recovery_codes_left,
            fresh_until_time=protobuf.to_timestamp(security.fresh_until),
            events=map(convert.event_to_proto, security.events),
        )

    def _user(self, user: domain.User) -> auth_pb2.User:
        return convert.user_to_proto(user, self._verification_period)


def actor() -> domain.Actor:
    """Return the user of the current call. Raises `Unauthenticated` for a call without a user."""
    user = identity.caller().require_user()
    return domain.Actor(user_id=uuid.UUID(user.user_id), session_id=uuid.UUID(user.session_id))
