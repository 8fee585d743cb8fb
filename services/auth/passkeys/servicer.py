"""PasskeyService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

from typing import Any

import grpc

from chassis import ids, protobuf
from repruv.auth.v1 import passkey_pb2, passkey_service_pb2, passkey_service_pb2_grpc
from services.auth import convert
from services.auth.context import Context
from services.auth.passkeys.domain import PASSKEYS_PER_USER, Passkey
from services.auth.passkeys.operations import Ceremony, Passkeys
from services.auth.passkeys.sign_in import PasskeySignIn
from services.auth.servicer import actor

SERVICE = passkey_service_pb2.DESCRIPTOR.services_by_name["PasskeyService"].full_name

_GATEWAY = frozenset({"gateway"})
CALLERS = {
    "ListPasskeys": _GATEWAY,
    "BeginAddPasskey": _GATEWAY,
    "FinishAddPasskey": _GATEWAY,
    "RenamePasskey": _GATEWAY,
    "RemovePasskey": _GATEWAY,
    "BeginPasskeyLogin": _GATEWAY,
    "FinishPasskeyLogin": _GATEWAY,
    "BeginPasskeyReauthentication": _GATEWAY,
    "FinishPasskeyReauthentication": _GATEWAY,
}

RpcContext = grpc.aio.ServicerContext[Any, Any]


class PasskeyServicer(passkey_service_pb2_grpc.PasskeyServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context) -> None:
        self._passkeys = Passkeys(context)
        self._sign_in = PasskeySignIn(context)
        self._is_available = context.relying_party is not None
        self._verification_period = context.verification_period

    async def ListPasskeys(
        self, request: passkey_service_pb2.ListPasskeysRequest, context: RpcContext
    ) -> passkey_service_pb2.ListPasskeysResponse:
        passkeys = await self._passkeys.list_passkeys(actor().user_id)
        return passkey_service_pb2.ListPasskeysResponse(
            passkeys=map(_passkey, passkeys), is_available=self._is_available, limit=PASSKEYS_PER_USER
        )

    async def BeginAddPasskey(
        self, request: passkey_service_pb2.BeginAddPasskeyRequest, context: RpcContext
    ) -> passkey_service_pb2.BeginAddPasskeyResponse:
        return passkey_service_pb2.BeginAddPasskeyResponse(
            ceremony=_ceremony(await self._passkeys.begin_adding(actor()))
        )

    async def FinishAddPasskey(
        self, request: passkey_service_pb2.FinishAddPasskeyRequest, context: RpcContext
    ) -> passkey_service_pb2.FinishAddPasskeyResponse:
        added = await self._passkeys.finish_adding(
            actor(), ceremony=request.ceremony, credential=request.credential, name=request.name
        )
        return passkey_service_pb2.FinishAddPasskeyResponse(passkey=_passkey(added))

    async def RenamePasskey(
        self, request: passkey_service_pb2.RenamePasskeyRequest, context: RpcContext
    ) -> passkey_service_pb2.RenamePasskeyResponse:
        renamed = await self._passkeys.rename(actor(), ids.parse(request.passkey_id, "passkey_id"), request.name)
        return passkey_service_pb2.RenamePasskeyResponse(passkey=_passkey(renamed))

    async def RemovePasskey(
        self, request: passkey_service_pb2.RemovePasskeyRequest, context: RpcContext
    ) -> passkey_service_pb2.RemovePasskeyResponse:
        await self._passkeys.remove(actor(), ids.parse(request.passkey_id, "passkey_id"))
        return passkey_service_pb2.RemovePasskeyResponse()

    async def BeginPasskeyLogin(
        self, request: passkey_service_pb2.BeginPasskeyLoginRequest, context: RpcContext
    ) -> passkey_service_pb2.BeginPasskeyLoginResponse:
        ceremony = await self._sign_in.begin_login(convert.client_from_proto(request.client))
        return passkey_service_pb2.BeginPasskeyLoginResponse(ceremony=_ceremony(ceremony))

    async def FinishPasskeyLogin(
        self, request: passkey_service_pb2.FinishPasskeyLoginRequest, context: RpcContext
    ) -> passkey_service_pb2.FinishPasskeyLoginResponse:
        new = await self._sign_in.finish_login(
            ceremony=request.ceremony,
            credential=request.credential,
            client=convert.client_from_proto(request.client),
            is_remembered=request.remember,
        )
        return passkey_service_pb2.FinishPasskeyLoginResponse(
            user=convert.user_to_proto(new.user, self._verification_period),
            session=convert.session_to_proto(new.session),
            token=new.token,
        )

    async def BeginPasskeyReauthentication(
        self, request: passkey_service_pb2.BeginPasskeyReauthenticationRequest, context: RpcContext
    ) -> passkey_service_pb2.BeginPasskeyReauthenticationResponse:
        ceremony = await self._sign_in.begin_reauthentication(actor())
        return passkey_service_pb2.BeginPasskeyReauthenticationResponse(ceremony=_ceremony(ceremony))

    async def FinishPasskeyReauthentication(
        self, request: passkey_service_pb2.FinishPasskeyReauthenticationRequest, context: RpcContext
    ) -> passkey_service_pb2.FinishPasskeyReauthenticationResponse:
        session, token = await self._sign_in.finish_reauthentication(
            actor(),
            ceremony=request.ceremony,
            credential=request.credential,
            client=convert.client_from_proto(request.client),
        )
        return passkey_service_pb2.FinishPasskeyReauthenticationResponse(
            session=convert.session_to_proto(session), token=token
        )


def _ceremony(ceremony: Ceremony) -> passkey_service_pb2.Ceremony:
    return passkey_service_pb2.Ceremony(
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
