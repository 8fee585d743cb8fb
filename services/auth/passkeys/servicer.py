"""PasskeyService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

from chassis import ids, protobuf
from chassis.rpc.admission import Context as RpcContext
from repruv.auth.v1 import passkey_pb2, passkey_service_pb2_grpc
from repruv.auth.v1 import passkey_service_pb2 as pb
from services.auth import convert
from services.auth.context import Context
from services.auth.passkeys.domain import PASSKEYS_PER_USER, Passkey
from services.auth.passkeys.operations import Ceremony, Passkeys
from services.auth.passkeys.sign_in import PasskeySignIn
from services.auth.servicer import actor

_SERVICE = pb.DESCRIPTOR.services_by_name["PasskeyService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""


class PasskeyServicer(passkey_service_pb2_grpc.PasskeyServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context) -> None:
        self._passkeys = Passkeys(context)
        self._sign_in = PasskeySignIn(context)
        self._is_available = context.relying_party is not None
        self._verification_period = context.verification_period

    async def ListPasskeys(self, request: pb.ListPasskeysRequest, context: RpcContext) -> pb.ListPasskeysResponse:
        passkeys = await self._passkeys.list_passkeys(actor().user_id)
        return pb.ListPasskeysResponse(
            passkeys=map(_passkey, passkeys), is_available=self._is_available, limit=PASSKEYS_PER_USER
        )

    async def BeginAddPasskey(
        self, request: pb.BeginAddPasskeyRequest, context: RpcContext
    ) -> pb.BeginAddPasskeyResponse:
        return pb.BeginAddPasskeyResponse(ceremony=_ceremony(await self._passkeys.begin_adding(actor())))

    async def FinishAddPasskey(
        self, request: pb.FinishAddPasskeyRequest, context: RpcContext
    ) -> pb.FinishAddPasskeyResponse:
        added = await self._passkeys.finish_adding(
            actor(), ceremony=request.ceremony, credential=request.credential, name=request.name
        )
        return pb.FinishAddPasskeyResponse(passkey=_passkey(added))

    async def RenamePasskey(self, request: pb.RenamePasskeyRequest, context: RpcContext) -> pb.RenamePasskeyResponse:
        renamed = await self._passkeys.rename(actor(), ids.parse(request.passkey_id, "passkey_id"), request.name)
        return pb.RenamePasskeyResponse(passkey=_passkey(renamed))

    async def RemovePasskey(self, request: pb.RemovePasskeyRequest, context: RpcContext) -> pb.RemovePasskeyResponse:
        await self._passkeys.remove(actor(), ids.parse(request.passkey_id, "passkey_id"))
        return pb.RemovePasskeyResponse()

    async def BeginPasskeyLogin(
        self, request: pb.BeginPasskeyLoginRequest, context: RpcContext
    ) -> pb.BeginPasskeyLoginResponse:
        ceremony = await self._sign_in.begin_login(convert.client_from_proto(request.client))
        return pb.BeginPasskeyLoginResponse(ceremony=_ceremony(ceremony))

    async def FinishPasskeyLogin(
        self, request: pb.FinishPasskeyLoginRequest, context: RpcContext
    ) -> pb.FinishPasskeyLoginResponse:
        new = await self._sign_in.finish_login(
            ceremony=request.ceremony,
            credential=request.credential,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        return pb.FinishPasskeyLoginResponse(
            user=convert.user_to_proto(new.user, self._verification_period),
            session=convert.session_to_proto(new.session),
            token=new.token,
        )

    async def BeginPasskeyReauthentication(
        self, request: pb.BeginPasskeyReauthenticationRequest, context: RpcContext
    ) -> pb.BeginPasskeyReauthenticationResponse:
        ceremony = await self._sign_in.begin_reauthentication(actor())
        return pb.BeginPasskeyReauthenticationResponse(ceremony=_ceremony(ceremony))

    async def FinishPasskeyReauthentication(
        self, request: pb.FinishPasskeyReauthenticationRequest, context: RpcContext
    ) -> pb.FinishPasskeyReauthenticationResponse:
        session, token = await self._sign_in.finish_reauthentication(
            actor(),
            ceremony=request.ceremony,
            credential=request.credential,
            client=convert.client_from_proto(request.client),
        )
        return pb.FinishPasskeyReauthenticationResponse(session=convert.session_to_proto(session), token=token)


def _ceremony(ceremony: Ceremony) -> pb.Ceremony:
    return pb.Ceremony(
        ceremony=ceremony.ceremony, options=ceremony.options, expire_time=protobuf.to_timestamp(ceremony.expires_at)
    )


def _passkey(passkey: Passkey) -> passkey_pb2.Passkey:
    return passkey_pb2.Passkey(
        passkey_id=str(passkey.passkey_id),
        name=passkey.name,
        create_time=protobuf.to_timestamp(passkey.created_at),
        last_use_time=protobuf.to_timestamp(passkey.last_used_at),
        is_syncable=passkey.is_syncable,
        is_synced=passkey.is_synced,
    )
