"""Passkeys, and sign-ins with them."""

from __future__ import annotations

from chassis.rpc import client as rpc
from gateway.clients import service
from repruv.auth.v1 import auth_pb2, passkey_pb2, passkey_service_pb2, passkey_service_pb2_grpc


class Passkeys(service.Client):
    """The auth service, as far as authenticators answer it."""

    def __init__(self, target: str, caller: rpc.Caller) -> None:
        # What begins or spends a ceremony is not repeated.
        super().__init__("auth", target, caller, ("ListPasskeys", "RenamePasskey"), service="Passkey")
        self._stub = passkey_service_pb2_grpc.PasskeyServiceStub(self._channel)

    async def list_passkeys(self, *, user: str, quick: bool = False) -> passkey_service_pb2.ListPasskeysResponse:
        """Return the user's passkeys, and whether passkeys are available."""
        request = passkey_service_pb2.ListPasskeysRequest()
        return await self.call(self._stub.ListPasskeys, request, user, quick=quick)

    async def begin_adding(self, *, user: str) -> passkey_service_pb2.Ceremony:
        """Begin to add one."""
        request = passkey_service_pb2.BeginAddPasskeyRequest()
        return (await self.call(self._stub.BeginAddPasskey, request, user)).ceremony

    async def finish_adding(self, *, ceremony: str, credential: str, name: str, user: str) -> passkey_pb2.Passkey:
        """Add what the authenticator made."""
        request = passkey_service_pb2.FinishAddPasskeyRequest(ceremony=ceremony, credential=credential, name=name)
        return (await self.call(self._stub.FinishAddPasskey, request, user)).passkey

    async def rename(self, passkey_id: str, name: str, *, user: str) -> passkey_pb2.Passkey:
        """Rename a passkey."""
        request = passkey_service_pb2.RenamePasskeyRequest(passkey_id=passkey_id, name=name)
        return (await self.call(self._stub.RenamePasskey, request, user)).passkey

    async def remove(self, passkey_id: str, *, user: str) -> None:
        """Remove one."""
        request = passkey_service_pb2.RemovePasskeyRequest(passkey_id=passkey_id)
        await self.call(self._stub.RemovePasskey, request, user)

    async def begin_login(self, *, client: auth_pb2.Client) -> passkey_service_pb2.Ceremony:
        """Begin a sign-in by passkey."""
        request = passkey_service_pb2.BeginPasskeyLoginRequest(client=client)
        return (await self.call(self._stub.BeginPasskeyLogin, request, "")).ceremony

    async def finish_login(
        self, *, ceremony: str, credential: str, remember: bool, client: auth_pb2.Client
    ) -> passkey_service_pb2.FinishPasskeyLoginResponse:
        """Begin the session of the passkey's owner."""
        request = passkey_service_pb2.FinishPasskeyLoginRequest(
            ceremony=ceremony, credential=credential, remember=remember, client=client
        )
        return await self.call(self._stub.FinishPasskeyLogin, request, "")

    async def begin_reauthentication(self, *, user: str) -> passkey_service_pb2.Ceremony:
        """Begin a proof of who the user is."""
        request = passkey_service_pb2.BeginPasskeyReauthenticationRequest()
        return (await self.call(self._stub.BeginPasskeyReauthentication, request, user)).ceremony

    async def finish_reauthentication(
        self, *, ceremony: str, credential: str, client: auth_pb2.Client, user: str
    ) -> passkey_service_pb2.FinishPasskeyReauthenticationResponse:
        """Prove who the user is; the session goes on under a new token."""
        request = passkey_service_pb2.FinishPasskeyReauthenticationRequest(
            ceremony=ceremony, credential=credential, client=client
        )
        return await self.call(self._stub.FinishPasskeyReauthentication, request, user)
