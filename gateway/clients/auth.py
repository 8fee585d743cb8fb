"""Accounts and sessions."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import batching
from gateway.clients import service
from gateway.identity import sessions
from repruv.auth.v1 import auth_service_pb2 as pb
from repruv.auth.v1 import auth_service_pb2_grpc, passkey_service_pb2

SignInResponse = (
    pb.LoginResponse
    | pb.FinishLoginResponse
    | pb.RegisterResponse
    | pb.BeginGuestSessionResponse
    | passkey_service_pb2.FinishPasskeyLoginResponse
)
"""Responses that carry a new session and its token."""
RotatedToken = (
    pb.ReauthenticateResponse
    | pb.ChangePasswordResponse
    | pb.ConfirmTotpResponse
    | pb.DisableTotpResponse
    | passkey_service_pb2.FinishPasskeyReauthenticationResponse
)
"""Responses that carry a session's new token."""

VALIDATED_TOGETHER = 100
MAX_WAIT_SECONDS = 0.02
"""How long a validation waits for one in flight, to join the next batch."""


class Auth(service.Client):
    """The auth service as users call it."""

    descriptor = pb.DESCRIPTOR.services_by_name["AuthService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = auth_service_pb2_grpc.AuthServiceStub(peer.channel)
        self.register = self.rpc(stub.Register, pb.RegisterRequest).public
        self.begin_guest_session = self.rpc(stub.BeginGuestSession, pb.BeginGuestSessionRequest).public
        self.login = self.rpc(stub.Login, pb.LoginRequest).public
        self.finish_login = self.rpc(stub.FinishLogin, pb.FinishLoginRequest).public
        self.reauthenticate = self.rpc(stub.Reauthenticate, pb.ReauthenticateRequest)
        self.list_sessions = self.rpc(stub.ListSessions, pb.ListSessionsRequest)
        self.revoke_session = self.rpc(stub.RevokeSession, pb.RevokeSessionRequest)
        self.revoke_all_sessions = self.rpc(stub.RevokeAllSessions, pb.RevokeAllSessionsRequest)
        self.change_password = self.rpc(stub.ChangePassword, pb.ChangePasswordRequest)
        self.request_password_reset = self.rpc(stub.RequestPasswordReset, pb.RequestPasswordResetRequest).public
        self.reset_password = self.rpc(stub.ResetPassword, pb.ResetPasswordRequest).public
        self.request_email_verification = self.rpc(stub.RequestEmailVerification, pb.RequestEmailVerificationRequest)
        self.verify_email = self.rpc(stub.VerifyEmail, pb.VerifyEmailRequest).public
        self.begin_totp = self.rpc(stub.BeginTotp, pb.BeginTotpRequest)
        self.confirm_totp = self.rpc(stub.ConfirmTotp, pb.ConfirmTotpRequest)
        self.disable_totp = self.rpc(stub.DisableTotp, pb.DisableTotpRequest)
        self.regenerate_recovery_codes = self.rpc(stub.RegenerateRecoveryCodes, pb.RegenerateRecoveryCodesRequest)
        self.get_security = self.rpc(stub.GetSecurity, pb.GetSecurityRequest)
        self.update_profile = self.rpc(stub.UpdateProfile, pb.UpdateProfileRequest)
        self.update_notification_settings = self.rpc(
            stub.UpdateNotificationSettings, pb.UpdateNotificationSettingsRequest
        )
        self.request_email_change = self.rpc(stub.RequestEmailChange, pb.RequestEmailChangeRequest)
        self.cancel_email_change = self.rpc(stub.CancelEmailChange, pb.CancelEmailChangeRequest)
        self.confirm_email_change = self.rpc(stub.ConfirmEmailChange, pb.ConfirmEmailChangeRequest).public
        self.revoke_email_change = self.rpc(stub.RevokeEmailChange, pb.RevokeEmailChangeRequest).public
        self.request_deletion = self.rpc(stub.RequestDeletion, pb.RequestDeletionRequest)
        self.cancel_deletion = self.rpc(stub.CancelDeletion, pb.CancelDeletionRequest)
        self.cancel_deletion_by_link = self.rpc(stub.CancelDeletionByLink, pb.CancelDeletionByLinkRequest).public
        self._stub = stub
        self._validations = batching.Batcher(self._validate, max_items=VALIDATED_TOGETHER, max_wait=MAX_WAIT_SECONDS)

    async def validate_session(self, token: str, *, passive: bool = False) -> pb.ValidateSessionResponse:
        """Answer whose session a token is; `passive` renews nothing."""
        return await self._validations(pb.ValidateSessionRequest(token=token, passive=passive))

    async def _validate(
        self, requests: list[pb.ValidateSessionRequest]
    ) -> Sequence[pb.ValidateSessionResponse | Exception]:
        if len(requests) == 1:
            return [await self.call(self._stub.ValidateSession, requests[0], "")]
        request = pb.ValidateSessionsRequest(sessions=requests)
        response = await self.call(self._stub.ValidateSessions, request, "")
        return [
            result.validated if result.HasField("validated") else sessions.invalid(request.token)
            for request, result in zip(requests, response.results, strict=True)
        ]
