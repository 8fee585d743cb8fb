"""Accounts, for admins."""

from __future__ import annotations

from gateway.clients import service
from repruv.auth.v1 import admin_service_pb2 as pb
from repruv.auth.v1 import admin_service_pb2_grpc


class Admin(service.Client):
    """The account administration of the auth service."""

    descriptor = pb.DESCRIPTOR.services_by_name["AuthAdminService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = admin_service_pb2_grpc.AuthAdminServiceStub(peer.channel)
        self.list_users = self.rpc(stub.ListUsers, pb.ListUsersRequest)
        self.get_user = self.rpc(stub.GetUser, pb.GetUserRequest)
        self.batch_get_users = self.rpc(stub.BatchGetUsers, pb.BatchGetUsersRequest)
        self.set_user_role = self.rpc(stub.SetUserRole, pb.SetUserRoleRequest)
        self.disable_user = self.rpc(stub.DisableUser, pb.DisableUserRequest)
        self.enable_user = self.rpc(stub.EnableUser, pb.EnableUserRequest)
        self.count_sessions = self.rpc(stub.CountSessions, pb.CountSessionsRequest)
        self.revoke_user_sessions = self.rpc(stub.RevokeUserSessions, pb.RevokeUserSessionsRequest)
        self.revoke_user_api_token = self.rpc(stub.RevokeUserApiToken, pb.RevokeUserApiTokenRequest)
        self.revoke_all_users_sessions = self.rpc(stub.RevokeAllUsersSessions, pb.RevokeAllUsersSessionsRequest)
        self.request_user_deletion = self.rpc(stub.RequestUserDeletion, pb.RequestUserDeletionRequest)
        self.cancel_user_deletion = self.rpc(stub.CancelUserDeletion, pb.CancelUserDeletionRequest)
        self.send_password_reset = self.rpc(stub.SendPasswordReset, pb.SendPasswordResetRequest)
        self.remove_second_factor = self.rpc(stub.RemoveSecondFactor, pb.RemoveSecondFactorRequest)
        self.list_security_events = self.rpc(stub.ListSecurityEvents, pb.ListSecurityEventsRequest)
