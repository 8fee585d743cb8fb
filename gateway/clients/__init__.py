"""What the gateway asks of the services: a client for each gRPC service, every call with a deadline and for a named user.

`user` is the signed identity that auth minted for the user; empty where the gateway asks for itself. `quick` gives up at once
when nobody is there, and soon when somebody is.
"""

from __future__ import annotations

from gateway.clients.admin import Admin
from gateway.clients.auth import Auth, RotatedToken, SignInResponse
from gateway.clients.connections import Connections
from gateway.clients.demo import Demo
from gateway.clients.engine import Engine
from gateway.clients.jobs import Jobs
from gateway.clients.passkeys import Passkeys
from gateway.clients.service import QUICK_TIMEOUT, TIMEOUT

__all__ = [
    "QUICK_TIMEOUT",
    "TIMEOUT",
    "Admin",
    "Auth",
    "Connections",
    "Demo",
    "Engine",
    "Jobs",
    "Passkeys",
    "RotatedToken",
    "SignInResponse",
]
