"""AuthService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

import uuid
from typing import Any

from chassis import errors, identity, ids, protobuf
from chassis.rpc.admission import Context as RpcContext
from repruv.auth.v1 import auth_pb2, auth_service_pb2_grpc
from repruv.auth.v1 import auth_service_pb2 as pb
from services.auth import convert, domain, validation
from services.auth.accounts.email_changes import EmailChanges
from services.auth.accounts.operations import Accounts
from services.auth.accounts.profiles import Profiles
from services.auth.accounts.recovery import Recovery
from services.auth.api_tokens import convert as token_convert
from services.auth.context import Context, NewSession
from services.auth.deletion.operations import Deletion
from services.auth.guests.operations import Guests
from services.auth.notifications.operations import NotificationSettings
from services.auth.second_factor.operations import SecondFactor
from services.auth.sessions.operations import Sessions, ValidatedSession
from services.auth.sign_in.operations import ChallengeRequired, SignIn

_SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""

MAX_BATCH = 100
"""Tokens that one ValidateSessions call may hold."""


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context) -> None:
        self._accounts = Accounts(context)
        self._guests = Guests(context)
        self._sign_in = SignIn(context)
        self._sessions = Sessions(context)
        self._recovery = Recovery(context)
        self._profiles = Profiles(context)
        self._notification_settings = NotificationSettings(context)
        self._email_changes = EmailChanges(context)
        self._deletion = Deletion(context)
        self._second_factor = SecondFactor(context)
        self._verification_period = context.verification_period

    async def Register(self, request: pb.RegisterRequest, context: RpcContext) -> pb.RegisterResponse:
        new = await self._accounts.register(
            email=request.email,
            password=request.password,
            name=request.name,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        if new is None:
            return pb.RegisterResponse()
        return pb.RegisterResponse(**self._signed_in(new))

    async def BeginGuestSession(
        self, request: pb.BeginGuestSessionRequest, context: RpcContext
    ) -> pb.BeginGuestSessionResponse:
        new = await self._guests.begin(convert.client_from_proto(request.client))
        return pb.BeginGuestSessionResponse(**self._signed_in(new))

    async def Login(self, request: pb.LoginRequest, context: RpcContext) -> pb.LoginResponse:
        new = await self._sign_in.login(
            email=request.email,
            password=request.password,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        if isinstance(new, ChallengeRequired):
            return pb.LoginResponse(
                challenge=new.challenge, challenge_expire_time=protobuf.to_timestamp(new.expires_at)
            )
        return pb.LoginResponse(**self._signed_in(new))

    async def FinishLogin(self, request: pb.FinishLoginRequest, context: RpcContext) -> pb.FinishLoginResponse:
        new = await self._sign_in.finish_login(
            challenge=request.challenge, code=request.code, client=convert.client_from_proto(request.client)
        )
        return pb.FinishLoginResponse(**self._signed_in(new))

    async def ValidateSession(
        self, request: pb.ValidateSessionRequest, context: RpcContext
    ) -> pb.ValidateSessionResponse:
        return self._validated(await self._sessions.validate_session(request.token, passive=request.passive))

    async def ValidateSessions(
        self, request: pb.ValidateSessionsRequest, context: RpcContext
    ) -> pb.ValidateSessionsResponse:
        if not 1 <= len(request.sessions) <= MAX_BATCH:
            raise errors.InvalidArgument(f"sessions must be 1 to {MAX_BATCH}.", field="sessions")
        queries = [(each.token, each.passive) for each in request.sessions]
        response = pb.ValidateSessionsResponse()
        for validated in await self._sessions.validate_sessions(queries):
            response.results.add(validated=self._validated(validated) if validated else None)
        return response

    def _validated(self, validated: ValidatedSession) -> pb.ValidateSessionResponse:
        access = validated.access
        return pb.ValidateSessionResponse(
            user=self._user(validated.user),
            session=convert.session_to_proto(access) if isinstance(access, domain.Session) else None,
            identity=validated.identity,
            identity_expire_time=protobuf.to_timestamp(validated.identity_expires_at),
            is_renewed=validated.is_renewed,
            api_token=None if isinstance(access, domain.Session) else token_convert.token_to_proto(access),
        )

    async def Reauthenticate(self, request: pb.ReauthenticateRequest, context: RpcContext) -> pb.ReauthenticateResponse:
        session, token = await self._sign_in.reauthenticate(
            actor(),
            password=request.password,
            code=request.code,
            client=convert.client_from_proto(request.client),
        )
        return pb.ReauthenticateResponse(session=convert.session_to_proto(session), token=token)

    async def ListSessions(self, request: pb.ListSessionsRequest, context: RpcContext) -> pb.ListSessionsResponse:
        sessions = await self._sessions.list_sessions(actor().user_id)
        return pb.ListSessionsResponse(sessions=map(convert.session_to_proto, sessions))

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: RpcContext) -> pb.RevokeSessionResponse:
        session_id = ids.parse(request.session_id, "session_id")
        reason = validation.parse_revoke_reason(request.reason)
        await self._sessions.revoke_session(actor(), session_id, reason)
        return pb.RevokeSessionResponse()

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: RpcContext
    ) -> pb.RevokeAllSessionsResponse:
        keep = ids.parse(request.except_session_id, "except_session_id") if request.except_session_id else None
        revoked_count = await self._sessions.revoke_all_sessions(actor(), keep=keep)
        return pb.RevokeAllSessionsResponse(revoked_count=revoked_count)

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: RpcContext) -> pb.ChangePasswordResponse:
        changed = await self._recovery.change_password(
            actor(),
            current=request.current_password,
            new=request.new_password,
            client=convert.client_from_proto(request.client),
        )
        return pb.ChangePasswordResponse(
            session=convert.session_to_proto(changed.session), token=changed.token, revoked_count=changed.revoked_count
        )

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: RpcContext
    ) -> pb.RequestPasswordResetResponse:
        await self._recovery.request_reset(email=request.email, client=convert.client_from_proto(request.client))
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: RpcContext) -> pb.ResetPasswordResponse:
        await self._recovery.reset_password(
            token=request.token, password=request.password, client=convert.client_from_proto(request.client)
        )
        return pb.ResetPasswordResponse()

    async def RequestEmailVerification(
        self, request: pb.RequestEmailVerificationRequest, context: RpcContext
    ) -> pb.RequestEmailVerificationResponse:
        await self._recovery.request_verification(actor())
        return pb.RequestEmailVerificationResponse()

    async def VerifyEmail(self, request: pb.VerifyEmailRequest, context: RpcContext) -> pb.VerifyEmailResponse:
        await self._recovery.verify_email(token=request.token, client=convert.client_from_proto(request.client))
        return pb.VerifyEmailResponse()

    async def BeginTotp(self, request: pb.BeginTotpRequest, context: RpcContext) -> pb.BeginTotpResponse:
        pending = await self._second_factor.begin(actor())
        return pb.BeginTotpResponse(
            secret=pending.secret, uri=pending.uri, expire_time=protobuf.to_timestamp(pending.expires_at)
        )

    async def ConfirmTotp(self, request: pb.ConfirmTotpRequest, context: RpcContext) -> pb.ConfirmTotpResponse:
        enabled = await self._second_factor.confirm(actor(), request.code)
        return pb.ConfirmTotpResponse(
            recovery_codes=enabled.recovery_codes,
            session=convert.session_to_proto(enabled.session),
            token=enabled.token,
        )

    async def DisableTotp(self, request: pb.DisableTotpRequest, context: RpcContext) -> pb.DisableTotpResponse:
        session, token = await self._second_factor.disable(actor(), request.code)
        return pb.DisableTotpResponse(session=convert.session_to_proto(session), token=token)

    async def RegenerateRecoveryCodes(
        self, request: pb.RegenerateRecoveryCodesRequest, context: RpcContext
    ) -> pb.RegenerateRecoveryCodesResponse:
        recovery_codes = await self._second_factor.regenerate_recovery_codes(actor())
        return pb.RegenerateRecoveryCodesResponse(recovery_codes=recovery_codes)

    async def GetSecurity(self, request: pb.GetSecurityRequest, context: RpcContext) -> pb.GetSecurityResponse:
        security = await self._accounts.get_security(actor())
        since = security.second_factor_since
        return pb.GetSecurityResponse(
            user=self._user(security.user),
            password_change_time=protobuf.to_timestamp(security.password_changed_at),
            second_factor_time=protobuf.to_timestamp(since),
            recovery_codes_left=security.recovery_codes_left,
            fresh_until_time=protobuf.to_timestamp(security.fresh_until),
            events=map(convert.event_to_proto, security.events),
            email_change=convert.email_change_to_proto(security.email_change) if security.email_change else None,
        )

    async def RequestEmailChange(
        self, request: pb.RequestEmailChangeRequest, context: RpcContext
    ) -> pb.RequestEmailChangeResponse:
        change = await self._email_changes.request(
            actor(), email=request.email, client=convert.client_from_proto(request.client)
        )
        return pb.RequestEmailChangeResponse(email_change=convert.email_change_to_proto(change))

    async def CancelEmailChange(
        self, request: pb.CancelEmailChangeRequest, context: RpcContext
    ) -> pb.CancelEmailChangeResponse:
        await self._email_changes.cancel(actor())
        return pb.CancelEmailChangeResponse()

    async def ConfirmEmailChange(
        self, request: pb.ConfirmEmailChangeRequest, context: RpcContext
    ) -> pb.ConfirmEmailChangeResponse:
        email = await self._email_changes.confirm(token=request.token, client=convert.client_from_proto(request.client))
        return pb.ConfirmEmailChangeResponse(email=email)

    async def RevokeEmailChange(
        self, request: pb.RevokeEmailChangeRequest, context: RpcContext
    ) -> pb.RevokeEmailChangeResponse:
        await self._email_changes.revoke(token=request.token, client=convert.client_from_proto(request.client))
        return pb.RevokeEmailChangeResponse()

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: RpcContext) -> pb.UpdateProfileResponse:
        user = await self._profiles.update(
            actor(),
            name=request.name if request.HasField("name") else None,
            time_zone=request.time_zone if request.HasField("time_zone") else None,
            theme=convert.THEMES.from_proto(request.theme) if request.HasField("theme") else None,
        )
        return pb.UpdateProfileResponse(user=self._user(user))

    async def UpdateNotificationSettings(
        self, request: pb.UpdateNotificationSettingsRequest, context: RpcContext
    ) -> pb.UpdateNotificationSettingsResponse:
        user = await self._notification_settings.update(
            actor(),
            job_emails=convert.JOB_EMAILS.from_proto(request.job_emails) if request.HasField("job_emails") else None,
            page_notices=request.page_notices if request.HasField("page_notices") else None,
            muted_notices=convert.notice_categories_from_proto(request.muted_notices)
            if request.HasField("muted_notices")
            else None,
        )
        return pb.UpdateNotificationSettingsResponse(user=self._user(user))

    async def RequestDeletion(
        self, request: pb.RequestDeletionRequest, context: RpcContext
    ) -> pb.RequestDeletionResponse:
        client = convert.client_from_proto(request.client)
        user = await self._deletion.request(actor(), email=request.email, client=client)
        return pb.RequestDeletionResponse(user=self._user(user))

    async def CancelDeletion(self, request: pb.CancelDeletionRequest, context: RpcContext) -> pb.CancelDeletionResponse:
        return pb.CancelDeletionResponse(user=self._user(await self._deletion.cancel(actor())))

    async def CancelDeletionByLink(
        self, request: pb.CancelDeletionByLinkRequest, context: RpcContext
    ) -> pb.CancelDeletionByLinkResponse:
        await self._deletion.cancel_by_link(token=request.token, client=convert.client_from_proto(request.client))
        return pb.CancelDeletionByLinkResponse()

    def _signed_in(self, new: NewSession) -> dict[str, Any]:
        """Return the fields of a response that begins a session."""
        return {"user": self._user(new.user), "session": convert.session_to_proto(new.session), "token": new.token}

    def _user(self, user: domain.User) -> auth_pb2.User:
        return convert.user_to_proto(user, self._verification_period)


def actor() -> domain.Actor:
    """Return the user of the current call. Raises `Unauthenticated` for a call without a user."""
    user = identity.caller().require_user()
    return domain.Actor(user_id=uuid.UUID(user.user_id), session_id=uuid.UUID(user.session_id))
