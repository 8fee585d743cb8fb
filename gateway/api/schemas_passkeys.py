"""The shapes of passkeys, and of what browsers bring from authenticators."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Text
from gateway.views import Passkey

_BYTES = "Bytes in base64url, without padding."


class _FromBrowser(BaseModel):
    """What `PublicKeyCredential.toJSON()` gives. Browsers add to it as they learn; what we do not know, we do not need."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Attestation(_FromBrowser):
    """An authenticator's answer to being asked for a new passkey."""

    clientDataJSON: Text = Field(description=_BYTES)  # noqa: N815 - the standard's names
    attestationObject: Text = Field(description=_BYTES)  # noqa: N815
    transports: list[Text] | None = None


class Signature(_FromBrowser):
    """An authenticator's answer to being asked to sign."""

    clientDataJSON: Text = Field(description=_BYTES)  # noqa: N815
    authenticatorData: Text = Field(description=_BYTES)  # noqa: N815
    signature: Text = Field(description=_BYTES)
    userHandle: Text | None = Field(None, description=_BYTES)  # noqa: N815


class _Credential(_FromBrowser):
    id: Text = Field(description=_BYTES)
    rawId: Text = Field(description=_BYTES)  # noqa: N815
    type: Literal["public-key"]


class NewCredential(_Credential):
    """WebAuthn's RegistrationResponseJSON."""

    response: Attestation


class UsedCredential(_Credential):
    """WebAuthn's AuthenticationResponseJSON."""

    response: Signature


class _Answer(Body):
    ceremony: Text = Field(description="As the options came with; it counts once, for five minutes.")


class NewPasskey(_Answer):
    """A passkey to be added."""

    credential: NewCredential
    name: Text = Field("", description="At most 100 characters; after the client unless given.", examples=["Phone"])


class PasskeyProof(_Answer):
    """A passkey that was used."""

    credential: UsedCredential


class PasskeyLogin(PasskeyProof):
    """Who wants to sign in with one."""

    remember: bool = Field(False, description="Stay signed in when the browser is closed.")


class PasskeyName(Body):
    """What to call one."""

    name: Text = Field(description="1 to 100 characters.", examples=["Phone"])


class AddedPasskey(TypedDict):
    """The passkey."""

    passkey: Passkey
