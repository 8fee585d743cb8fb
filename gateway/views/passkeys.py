"""Passkeys, and the ceremonies that create and use them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import derive
from repruv.auth.v1 import passkey_pb2, passkey_service_pb2


class Passkey(TypedDict):
    """One passkey."""

    passkey_id: str
    name: str
    created_at: str | None
    last_used_at: str | None
    syncable: Annotated[
        bool,
        derive.Of("is_syncable"),
        Field(description="Whether its authenticator may copy it to other devices of its owner."),
    ]
    synced: Annotated[bool, derive.Of("is_synced"), Field(description="Whether it was copied when it was last used.")]


class Passkeys(TypedDict):
    """The passkeys of a user, oldest first."""

    passkeys: list[Passkey]
    available: Annotated[
        bool, derive.Of("is_available"), Field(description="Whether passkeys can be added and used at this address.")
    ]
    limit: int


class Ceremony(TypedDict):
    """The options that a browser passes to an authenticator."""

    ceremony: Annotated[str, Field(description="A secret; send it with the result.")]
    options: Annotated[
        dict[str, Any],
        Field(
            description="WebAuthn's PublicKeyCredentialCreationOptionsJSON, or PublicKeyCredentialRequestOptionsJSON."
        ),
    ]
    expires_at: str | None


passkey = derive.view(Passkey, passkey_pb2.Passkey)
"""Returns a passkey as its owner sees it."""


passkeys = derive.view(Passkeys, passkey_service_pb2.ListPasskeysResponse)
"""Returns all passkeys of a user, and whether passkeys are available."""


ceremony = derive.view(Ceremony, passkey_service_pb2.Ceremony, options=lambda started: json.loads(started.options))
"""Returns what the browser asks an authenticator."""
