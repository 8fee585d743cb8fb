"""Clients of the services: one for each gRPC service, with a deadline for every call.

The first argument of a call is the signed identity of its user, as issued by auth; empty for calls of the gateway itself.
"""

from __future__ import annotations

from gateway.clients.admin import Admin
from gateway.clients.api_tokens import ApiTokens
from gateway.clients.auth import Auth, RotatedToken, SignInResponse
from gateway.clients.connections import Connections
from gateway.clients.demo import Demo
from gateway.clients.engine import Engine
from gateway.clients.jobs import Jobs
from gateway.clients.passkeys import Passkeys

__all__ = [
    "Admin",
    "ApiTokens",
    "Auth",
    "Connections",
    "Demo",
    "Engine",
    "Jobs",
    "Passkeys",
    "RotatedToken",
    "SignInResponse",
]
