"""Passkeys, and the ceremonies in which authenticators make and use them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from repruv.auth.v1 import passkey_pb2, passkey_service_pb2


class Passkey(TypedDict):
    """One passkey."""

    passkey_id: str
    name: str
    created_at: str | None
    last_used_at: str | None
    syncable: Annotated[bool, Field(description="Whether its authenticator may copy it to other devices of its owner.")]
    synced: Annotated[bool, Field(description="Whether it had been so copied when it was last used.")]


class Passkeys(TypedDict):
    """All of a user's, oldest first."""

    passkeys: list[Passkey]
    available: Annotated[bool, Field(description="Whether passkeys can be added and used at this address.")]
    limit: int


class Ceremony(TypedDict):
    """What a browser is to ask an authenticator."""

    ceremony: Annotated[str, Field(description="To be sent with the answer; a secret.")]
    options: Annotated[
        dict[str, Any],
        Field(
            description="WebAuthn's PublicKeyCredentialCreationOptionsJSON, or PublicKeyCredentialRequestOptionsJSON."
        ),
    ]
    expires_at: str | None


def passkey(stored: passkey_pb2.Passkey) -> Passkey:
    """Return a passkey as its owner sees it."""
    return {
        "passkey_id": stored.passkey_id,
        "name": stored.name,
        "created_at": times.optional_time(stored, "create_time"),
        "last_used_at": times.optional_time(stored, "last_use_time"),
        "syncable": stored.is_syncable,
        "synced": stored.is_synced,
    }


def passkeys(page: passkey_service_pb2.ListPasskeysResponse) -> Passkeys:
    """Return all passkeys of a user, and whether passkeys are available."""
    return {
        "passkeys": [passkey(stored) for stored in page.passkeys],
        "available": page.is_available,
        "limit": page.limit,
    }


def ceremony(started: passkey_service_pb2.Ceremony) -> Ceremony:
    """Return what the browser asks an authenticator."""
    return {
        "ceremony": started.ceremony,
        "options": json.loads(started.options),
        "expires_at": times.optional_time(started, "expire_time"),
    }
