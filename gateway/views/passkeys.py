"""Passkeys, and the ceremonies in which authenticators make and use them."""

from __future__ import annotations

import json

from gateway.views import times
from gateway.views.times import Json
from repruv.auth.v1 import passkey_pb2, passkey_service_pb2


def passkey(kept: passkey_pb2.Passkey) -> Json:
    """One passkey, as its owner sees it."""
    return {
        "passkey_id": kept.passkey_id,
        "name": kept.name,
        "created_at": times.optional_time(kept, "create_time"),
        "last_used_at": times.optional_time(kept, "last_use_time"),
        "syncable": kept.is_syncable,
        "synced": kept.is_synced,
    }


def passkeys(found: passkey_service_pb2.ListPasskeysResponse) -> Json:
    """All of a user's, and whether there can be any."""
    return {
        "passkeys": [passkey(kept) for kept in found.passkeys],
        "available": found.is_available,
        "limit": found.limit,
    }


def ceremony(begun: passkey_service_pb2.Ceremony) -> Json:
    """What a browser is to ask an authenticator."""
    return {
        "ceremony": begun.ceremony,
        "options": json.loads(begun.options),
        "expires_at": times.optional_time(begun, "expire_time"),
    }
