"""Accounts and sessions."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import batching
from chassis.rpc import client as rpc
from gateway.clients import service
from gateway.identity import sessions
from repruv.auth.v1 import auth_pb2, auth_service_pb2, auth_service_pb2_grpc, passkey_service_pb2

SignInResponse = (
    auth_service_pb2.LoginResponse
    | auth_service_pb2.FinishLoginResponse
    | auth_service_pb2.RegisterResponse
    | passkey_service_pb2.FinishPasskeyLoginResponse
)
"""Responses that carry a new session and its token."""
RotatedToken = (
    auth_service_pb2.ReauthenticateResponse
    | auth_service_pb2.ChangePasswordResponse
    | auth_service_pb2.ConfirmTotpResponse
    | auth_service_pb2.DisableTotpResponse
    | passkey_service_pb2.FinishPasskeyReauthenticationResponse
)
"""Responses that carry a session's new token."""

VALIDATED_TOGETHER = 100
MAX_WAIT_SECONDS = 0.02
"""How long a validation waits for one in flight, to join the next batch."""


class Auth(service.Client):
    """The auth service as users call it."""

    def __init__(self, target: str, caller: rpc.Caller) -> None:
        # A mail asked for twice is one mail too many; what takes a code or a link would find it used.
        reads = ("ValidateSession", "ValidateSessions", "ListSessions", "GetSecurity")
        super().__init__("auth", target, caller, (*reads, "RevokeSession", "RevokeAllSessions"))
        self._stub = auth_service_pb2_grpc.AuthServiceStub(self._channel)
        self._validations = batching.Batcher(self._validate, max_items=VALIDATED_TOGETHER, max_wait=MAX_WAIT_SECONDS)

    async def register(
        self, *, email: str, password: str, name: str, remember: bool, client: auth_pb2.Client
    ) -> auth_service_pb2.RegisterResponse:
        """Make an account and its first session, or have a mail sent."""
        request = auth_service_pb2.RegisterRequest(
            email=email, password=password, name=name, remember=remember, client=client
        )
        return await self.call(self._stub.Register, request, "")

    async def login(
        self, *, email: str, password: str, remember: bool, client: auth_pb2.Client
    ) -> auth_service_pb2.LoginResponse:
        """Begin a session, or get a challenge."""
        request = auth_service_pb2.LoginRequest(email=email, password=password, remember=remember, client=client)
        return await self.call(self._stub.Login, request, "")

    async def finish_login(
        self, *, challenge: str, code: str, client: auth_pb2.Client
    ) -> auth_service_pb2.FinishLoginResponse:
        """Answer a challenge, and begin the session."""
        request = auth_service_pb2.FinishLoginRequest(challenge=challenge, code=code, client=client)
        return await self.call(self._stub.FinishLogin, request, "")

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        """Answer whose session a token is; `passive` renews nothing."""
        return await self._validations(auth_service_pb2.ValidateSessionRequest(token=token, passive=passive))

    async def _validate(
        self, requests: list[auth_service_pb2.ValidateSessionRequest]
    ) -> Sequence[auth_service_pb2.ValidateSessionResponse | Exception]:
        if len(requests) == 1:
            return [await self.call(self._stub.ValidateSession, requests[0], "")]
        request = auth_service_pb2.ValidateSessionsRequest(sessions=requests)
        response = await self.call(self._stub.ValidateSessions, request, "")
        return [
            result.validated if result.HasField("validated") else sessions.SessionInvalid()
            for result in response.results
        ]

    async def reauthenticate(
        self, *, password: str, code: str, client: auth_pb2.Client, user: str
    ) -> auth_service_pb2.ReauthenticateResponse:
        """Prove who the user is; the session goes on under a new token."""
        request = auth_service_pb2.ReauthenticateRequest(password=password, code=code, client=client)
        return await self.call(self._stub.Reauthenticate, request, user)

    async def list_sessions(self, *, user: str) -> Sequence[auth_pb2.Session]:
        """Return the user's active sessions."""
        answer = await self.call(self._stub.ListSessions, auth_service_pb2.ListSessionsRequest(), user)
        return answer.sessions

    async def revoke_session(self, session_id: str, *, reason: str = "", user: str) -> None:
        """End one session of the user."""
        request = auth_service_pb2.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self.call(self._stub.RevokeSession, request, user)

    async def revoke_all_sessions(self, *, except_session_id: str = "", user: str) -> int:
        """End the user's sessions; gives how many ended."""
        request = auth_service_pb2.RevokeAllSessionsRequest(except_session_id=except_session_id)
        return (await self.call(self._stub.RevokeAllSessions, request, user)).revoked_count

    async def change_password(
        self, *, current: str, new: str, client: auth_pb2.Client, user: str
    ) -> auth_service_pb2.ChangePasswordResponse:
        """Replace the password; all other sessions end, and this one goes on under a new token."""
        request = auth_service_pb2.ChangePasswordRequest(current_password=current, new_password=new, client=client)
        return await self.call(self._stub.ChangePassword, request, user)

    async def request_password_reset(self, *, email: str, client: auth_pb2.Client) -> None:
        """Have a mail sent to the address, if it has an account."""
        request = auth_service_pb2.RequestPasswordResetRequest(email=email, client=client)
        await self.call(self._stub.RequestPasswordReset, request, "")

    async def reset_password(self, *, token: str, password: str, client: auth_pb2.Client) -> None:
        """Set the password by a mailed link."""
        request = auth_service_pb2.ResetPasswordRequest(token=token, password=password, client=client)
        await self.call(self._stub.ResetPassword, request, "")

    async def request_email_verification(self, *, user: str) -> None:
        """Have a mail sent to the user's address."""
        request = auth_service_pb2.RequestEmailVerificationRequest()
        await self.call(self._stub.RequestEmailVerification, request, user)

    async def verify_email(self, *, token: str, client: auth_pb2.Client) -> None:
        """Take the link of that mail."""
        await self.call(self._stub.VerifyEmail, auth_service_pb2.VerifyEmailRequest(token=token, client=client), "")

    async def begin_totp(self, *, user: str) -> auth_service_pb2.BeginTotpResponse:
        """Make the secret of an authenticator app."""
        return await self.call(self._stub.BeginTotp, auth_service_pb2.BeginTotpRequest(), user)

    async def confirm_totp(self, *, code: str, user: str) -> auth_service_pb2.ConfirmTotpResponse:
        """Turn the second factor on; the session goes on under a new token."""
        return await self.call(self._stub.ConfirmTotp, auth_service_pb2.ConfirmTotpRequest(code=code), user)

    async def disable_totp(self, *, code: str, user: str) -> auth_service_pb2.DisableTotpResponse:
        """Turn the second factor off; the session goes on under a new token."""
        return await self.call(self._stub.DisableTotp, auth_service_pb2.DisableTotpRequest(code=code), user)

    async def regenerate_recovery_codes(self, *, user: str) -> Sequence[str]:
        """Replace the recovery codes; gives the new ones."""
        request = auth_service_pb2.RegenerateRecoveryCodesRequest()
        return (await self.call(self._stub.RegenerateRecoveryCodes, request, user)).recovery_codes

    async def get_security(self, *, user: str) -> auth_service_pb2.GetSecurityResponse:
        """Answer how the user's account is protected."""
        return await self.call(self._stub.GetSecurity, auth_service_pb2.GetSecurityRequest(), user)
