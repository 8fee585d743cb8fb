"""AuthAdminService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

from chassis import ids
from chassis.rpc.admission import Context as RpcContext
from repruv.auth.v1 import admin_service_pb2 as pb
from repruv.auth.v1 import admin_service_pb2_grpc, auth_pb2
from services.auth import convert, domain
from services.auth.admin import lists
from services.auth.admin.operations import Administration
from services.auth.api_tokens import convert as token_convert
from services.auth.connections.effects import Effects
from services.auth.context import Context
from services.auth.servicer import actor

_SERVICE = pb.DESCRIPTOR.services_by_name["AuthAdminService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""


class AuthAdminServicer(admin_service_pb2_grpc.AuthAdminServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context, effects: Effects) -> None:
        self._administration = Administration(context, effects)
        self._verification_period = context.verification_period

    async def ListUsers(self, request: pb.ListUsersRequest, context: RpcContext) -> pb.ListUsersResponse:
        users = await self._administration.list_users(
            actor(), _list_request(request), email_prefix=request.email_prefix, is_deleting=request.deleting_only
        )
        return pb.ListUsersResponse(
            users=map(self._user, users.rows),
            next_page_token=users.next_token,
            previous_page_token=users.previous_token,
            count=users.count,
        )

    async def GetUser(self, request: pb.GetUserRequest, context: RpcContext) -> pb.GetUserResponse:
        user, sessions, api_tokens = await self._administration.get_user(actor(), ids.parse(request.user_id, "user_id"))
        return pb.GetUserResponse(
            user=self._user(user),
            sessions=map(convert.session_to_proto, sessions),
            api_tokens=map(token_convert.token_to_proto, api_tokens),
        )

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, context: RpcContext) -> pb.BatchGetUsersResponse:
        user_ids = {ids.parse(user_id, "user_ids") for user_id in request.user_ids}
        users = await self._administration.get_users(actor(), user_ids)
        return pb.BatchGetUsersResponse(users=map(self._user, users))

    async def SetUserRole(self, request: pb.SetUserRoleRequest, context: RpcContext) -> pb.SetUserRoleResponse:
        role = convert.ASSIGNABLE_ROLES.from_proto(request.role)
        user = await self._administration.set_role(actor(), ids.parse(request.user_id, "user_id"), role)
        return pb.SetUserRoleResponse(user=self._user(user))

    async def DisableUser(self, request: pb.DisableUserRequest, context: RpcContext) -> pb.DisableUserResponse:
        user = await self._administration.disable(actor(), ids.parse(request.user_id, "user_id"))
        return pb.DisableUserResponse(user=self._user(user))

    async def EnableUser(self, request: pb.EnableUserRequest, context: RpcContext) -> pb.EnableUserResponse:
        user = await self._administration.enable(actor(), ids.parse(request.user_id, "user_id"))
        return pb.EnableUserResponse(user=self._user(user))

    async def RevokeUserSessions(
        self, request: pb.RevokeUserSessionsRequest, context: RpcContext
    ) -> pb.RevokeUserSessionsResponse:
        session_id = ids.parse(request.session_id, "session_id") if request.session_id else None
        revoked_count = await self._administration.revoke_sessions(
            actor(), ids.parse(request.user_id, "user_id"), session_id
        )
        return pb.RevokeUserSessionsResponse(revoked_count=revoked_count)

    async def RevokeUserApiToken(
        self, request: pb.RevokeUserApiTokenRequest, context: RpcContext
    ) -> pb.RevokeUserApiTokenResponse:
        await self._administration.revoke_api_token(
            actor(), ids.parse(request.user_id, "user_id"), ids.parse(request.token_id, "token_id")
        )
        return pb.RevokeUserApiTokenResponse()

    async def CountSessions(self, request: pb.CountSessionsRequest, context: RpcContext) -> pb.CountSessionsResponse:
        count = await self._administration.count_sessions(actor())
        return pb.CountSessionsResponse(session_count=count.sessions, user_count=count.users, has_more=count.has_more)

    async def RevokeAllUsersSessions(
        self, request: pb.RevokeAllUsersSessionsRequest, context: RpcContext
    ) -> pb.RevokeAllUsersSessionsResponse:
        outcome = await self._administration.revoke_all_users_sessions(actor())
        return pb.RevokeAllUsersSessionsResponse(revoked_count=outcome.count, has_more=outcome.has_more)

    async def SendPasswordReset(
        self, request: pb.SendPasswordResetRequest, context: RpcContext
    ) -> pb.SendPasswordResetResponse:
        await self._administration.send_reset(actor(), ids.parse(request.user_id, "user_id"))
        return pb.SendPasswordResetResponse()

    async def RemoveSecondFactor(
        self, request: pb.RemoveSecondFactorRequest, context: RpcContext
    ) -> pb.RemoveSecondFactorResponse:
        user = await self._administration.remove_second_factor(actor(), ids.parse(request.user_id, "user_id"))
        return pb.RemoveSecondFactorResponse(user=self._user(user))

    async def RequestUserDeletion(
        self, request: pb.RequestUserDeletionRequest, context: RpcContext
    ) -> pb.RequestUserDeletionResponse:
        user = await self._administration.request_deletion(
            actor(), ids.parse(request.user_id, "user_id"), immediately=request.immediately
        )
        return pb.RequestUserDeletionResponse(user=self._user(user))

    async def CancelUserDeletion(
        self, request: pb.CancelUserDeletionRequest, context: RpcContext
    ) -> pb.CancelUserDeletionResponse:
        user = await self._administration.cancel_deletion(actor(), ids.parse(request.user_id, "user_id"))
        return pb.CancelUserDeletionResponse(user=self._user(user))

    async def ListSecurityEvents(
        self, request: pb.ListSecurityEventsRequest, context: RpcContext
    ) -> pb.ListSecurityEventsResponse:
        events = await self._administration.list_events(
            actor(),
            _list_request(request),
            user_id=ids.parse(request.user_id, "user_id") if request.user_id else None,
            kinds=list(request.kinds),
        )
        return pb.ListSecurityEventsResponse(
            events=map(convert.event_to_proto, events.rows),
            next_page_token=events.next_token,
            previous_page_token=events.previous_token,
            count=events.count,
        )

    def _user(self, user: domain.User) -> auth_pb2.User:
        return convert.user_to_proto(user, self._verification_period)


def _list_request(request: pb.ListUsersRequest | pb.ListSecurityEventsRequest) -> lists.Request:
    return lists.Request(
        page_size=request.page_size,
        page_token=request.page_token,
        oldest_first=request.oldest_first,
        max_count=request.max_count,
    )
