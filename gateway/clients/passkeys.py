"""Passkeys, and sign-ins with them."""

from __future__ import annotations

from gateway.clients import service
from repruv.auth.v1 import passkey_service_pb2 as pb
from repruv.auth.v1 import passkey_service_pb2_grpc


class Passkeys(service.Client):
    """Passkeys, which the auth service owns."""

    descriptor = pb.DESCRIPTOR.services_by_name["PasskeyService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = passkey_service_pb2_grpc.PasskeyServiceStub(peer.channel)
        self.list_passkeys = self.rpc(stub.ListPasskeys, pb.ListPasskeysRequest)
        self.begin_adding = self.rpc(stub.BeginAddPasskey, pb.BeginAddPasskeyRequest)
        self.finish_adding = self.rpc(stub.FinishAddPasskey, pb.FinishAddPasskeyRequest)
        self.rename = self.rpc(stub.RenamePasskey, pb.RenamePasskeyRequest)
        self.remove = self.rpc(stub.RemovePasskey, pb.RemovePasskeyRequest)
        self.begin_login = self.rpc(stub.BeginPasskeyLogin, pb.BeginPasskeyLoginRequest).public
        self.finish_login = self.rpc(stub.FinishPasskeyLogin, pb.FinishPasskeyLoginRequest).public
        self.begin_reauthentication = self.rpc(
            stub.BeginPasskeyReauthentication, pb.BeginPasskeyReauthenticationRequest
        )
        self.finish_reauthentication = self.rpc(
            stub.FinishPasskeyReauthentication, pb.FinishPasskeyReauthenticationRequest
        )
