"""Accounts of others, for admins."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from chassis.rpc import client
from gateway.clients import service
from repruv.auth.v1 import admin_service_pb2, admin_service_pb2_grpc, auth_pb2


class Admin(service.Client):
    """The auth service, as admins use it."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        reads = ("ListUsers", "GetUser", "BatchGetUsers", "ListSecurityEvents")
        changes = ("SetUserRole", "DisableUser", "EnableUser", "RevokeUserSessions", "RevokeAllUsersSessions")
        super().__init__("auth", target, caller, (*reads, *changes), service="AuthAdmin")
        self._stub = admin_service_pb2_grpc.AuthAdminServiceStub(self._channel)

    async def list_users(
        self, *, email_prefix: str, page_size: int, page_token: str, user: str
    ) -> admin_service_pb2.ListUsersResponse:
        """Return a page of accounts, newest first."""
        request = admin_service_pb2.ListUsersRequest(
            email_prefix=email_prefix, page_size=page_size, page_token=page_token
        )
        return await self.call(self._stub.ListUsers, request, user)

    async def get_user(self, user_id: str, *, user: str) -> admin_service_pb2.GetUserResponse:
        """Return an account and its active sessions."""
        return await self.call(self._stub.GetUser, admin_service_pb2.GetUserRequest(user_id=user_id), user)

    async def batch_get_users(self, user_ids: Collection[str], *, user: str) -> Sequence[auth_pb2.User]:
        """Return the accounts among up to 100 ids."""
        request = admin_service_pb2.BatchGetUsersRequest(user_ids=user_ids)
        return (await self.call(self._stub.BatchGetUsers, request, user, quick=True)).users

    async def set_user_role(self, user_id: str, role: auth_pb2.UserRole.ValueType, *, user: str) -> auth_pb2.User:
        """Change a role; all sessions of that account end."""
        request = admin_service_pb2.SetUserRoleRequest(user_id=user_id, role=role)
        return (await self.call(self._stub.SetUserRole, request, user)).user

    async def disable_user(self, user_id: str, *, user: str) -> auth_pb2.User:
        """Close an account; all its sessions end."""
        request = admin_service_pb2.DisableUserRequest(user_id=user_id)
        return (await self.call(self._stub.DisableUser, request, user)).user

    async def enable_user(self, user_id: str, *, user: str) -> auth_pb2.User:
        """Open a disabled account again."""
        request = admin_service_pb2.EnableUserRequest(user_id=user_id)
        return (await self.call(self._stub.EnableUser, request, user)).user

    async def revoke_user_sessions(self, user_id: str, session_id: str, *, user: str) -> int:
        """End one session of an account, or all if none is named; gives how many ended."""
        request = admin_service_pb2.RevokeUserSessionsRequest(user_id=user_id, session_id=session_id)
        return (await self.call(self._stub.RevokeUserSessions, request, user)).revoked_count

    async def revoke_all_users_sessions(self, *, user: str) -> admin_service_pb2.RevokeAllUsersSessionsResponse:
        """End all sessions except that of the call. Return how many ended, and whether some are left."""
        request = admin_service_pb2.RevokeAllUsersSessionsRequest()
        return await self.call(self._stub.RevokeAllUsersSessions, request, user)

    async def send_password_reset(self, user_id: str, *, user: str) -> None:
        """Have the mail sent by which the user sets a new password."""
        request = admin_service_pb2.SendPasswordResetRequest(user_id=user_id)
        await self.call(self._stub.SendPasswordReset, request, user)

    async def list_security_events(
        self, request: admin_service_pb2.ListSecurityEventsRequest, *, user: str
    ) -> admin_service_pb2.ListSecurityEventsResponse:
        """Return a page of security events, newest first."""
        return await self.call(self._stub.ListSecurityEvents, request, user)
