"""Calls to the auth service as the gateway makes them, and the accounts of tests."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc

from chassis import errors
from chassis.rpc import client
from repruv.auth.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    api_token_service_pb2,
    api_token_service_pb2_grpc,
    auth_pb2,
    auth_service_pb2,
    auth_service_pb2_grpc,
    passkey_service_pb2,
    passkey_service_pb2_grpc,
)

PASSWORD = "tulip-anvil-rowing"


def new_email() -> str:
    """Return an unused address."""
    return f"ada-{secrets.token_hex(8)}@example.org"


_addresses = itertools.count()


def new_address() -> str:
    """Return another network address each time, so that tests do not throttle each other."""
    network, host = divmod(next(_addresses), 254)
    return f"10.{network >> 8}.{network & 255}.{1 + host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A newly registered user, with their network address and first session."""

    user_id: str
    email: str
    ip_address: str
    session_id: str
    token: str
    identity: str


class Gateway:
    """Calls the auth service as the gateway does."""

    def __init__(self, channel: grpc.aio.Channel, caller: client.Caller) -> None:
        self.stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        self.admin_stub = admin_service_pb2_grpc.AuthAdminServiceStub(channel)
        self.passkey_stub = passkey_service_pb2_grpc.PasskeyServiceStub(channel)
        self.token_stub = api_token_service_pb2_grpc.ApiTokenServiceStub(channel)
        self._caller = caller

    async def call(self, rpc: str, request: Any, *, user: str = "") -> Any:
        """Call an rpc on behalf of the signed identity `user`."""
        stubs = (self.stub, self.admin_stub, self.passkey_stub, self.token_stub)
        stub = next(stub for stub in stubs if hasattr(stub, rpc))
        return await self._caller(getattr(stub, rpc), request, timeout=60.0, user_token=user)

    async def auth(self, rpc: str, *, user: str = "", ip_address: str = "", **fields: Any) -> Any:
        """Call an rpc of AuthService with these fields."""
        return await self._call_from(ip_address, auth_service_pb2, rpc, fields, user=user)

    async def admin(self, rpc: str, *, user: str, **fields: Any) -> Any:
        """Call an rpc of AuthAdminService with these fields."""
        return await self.call(rpc, getattr(admin_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def passkey(self, rpc: str, *, user: str = "", ip_address: str = "", **fields: Any) -> Any:
        """Call an rpc of PasskeyService with these fields."""
        return await self._call_from(ip_address, passkey_service_pb2, rpc, fields, user=user)

    async def _call_from(
        self, ip_address: str, messages: ModuleType, rpc: str, fields: dict[str, Any], *, user: str
    ) -> Any:
        client = {"client": auth_pb2.Client(ip_address=ip_address)} if ip_address else {}
        return await self.call(rpc, getattr(messages, f"{rpc}Request")(**(fields | client)), user=user)

    async def api_token(self, rpc: str, *, user: str, **fields: Any) -> Any:
        """Call an rpc of ApiTokenService with these fields."""
        return await self.call(rpc, getattr(api_token_service_pb2, f"{rpc}Request")(**fields), user=user)

    async def register(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        from_client = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.RegisterRequest(email=email, password=password, client=from_client, **fields)
        return await self.call("Register", request)

    async def login(
        self, email: str, *, password: str = PASSWORD, ip_address: str = "", user_agent: str = "", **fields: Any
    ) -> Any:
        from_client = auth_pb2.Client(ip_address=ip_address, user_agent=user_agent)
        request = auth_service_pb2.LoginRequest(email=email, password=password, client=from_client, **fields)
        return await self.call("Login", request)

    async def validate(self, token: str, *, passive: bool = False) -> Any:
        return await self.call("ValidateSession", auth_service_pb2.ValidateSessionRequest(token=token, passive=passive))

    async def is_valid(self, token: str, *, code: str = "session_invalid") -> bool:
        """Return whether a token is accepted; `code` is the error of one that is not."""
        try:
            await self.validate(token)
        except errors.Unauthenticated as refused:
            assert refused.code == code
            return False
        return True

    async def sessions(self, user: str) -> list[Any]:
        return list((await self.call("ListSessions", auth_service_pb2.ListSessionsRequest(), user=user)).sessions)

    async def revoke(self, session_id: str, *, user: str, reason: str = "") -> None:
        request = auth_service_pb2.RevokeSessionRequest(session_id=session_id, reason=reason)
        await self.call("RevokeSession", request, user=user)

    async def revoke_all(self, *, user: str, keep: str = "") -> int:
        request = auth_service_pb2.RevokeAllSessionsRequest(except_session_id=keep)
        return int((await self.call("RevokeAllSessions", request, user=user)).revoked_count)

    async def account(self, *, remember: bool = True) -> Account:
        """Register a new user from a new network address."""
        email, ip_address = new_email(), new_address()
        new = await self.register(email, ip_address=ip_address, remember=remember)
        return await self.describe(new, ip_address)

    async def sign_in_again(self, account: Account, **fields: Any) -> Account:
        """Sign a user in again."""
        new = await self.login(account.email, ip_address=account.ip_address, **fields)
        return await self.describe(new, account.ip_address)

    async def describe(self, new: Any, ip_address: str) -> Account:
        """Return the account of a new session."""
        return Account(
            user_id=new.user.user_id,
            email=new.user.email,
            ip_address=ip_address,
            session_id=new.session.session_id,
            token=new.token,
            identity=(await self.validate(new.token)).identity,
        )
