"""Bodies and responses of passkeys, and the results of authenticators."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Few, Text
from gateway.views import Passkey

_BYTES = "Bytes in base64url, without padding."


class _FromBrowser(BaseModel):
    """The result of `PublicKeyCredential.toJSON()`. Unknown fields are ignored: browsers add new ones."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Attestation(_FromBrowser):
    """An authenticator's response with a new passkey."""

    clientDataJSON: Text = Field(description=_BYTES)  # noqa: N815 - the standard's names
    attestationObject: Text = Field(description=_BYTES)  # noqa: N815
    transports: Few[Text] | None = None


class Signature(_FromBrowser):
    """An authenticator's signature."""

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
    ceremony: Text = Field(description="From the options; valid once, for five minutes.")


class NewPasskey(_Answer):
    """A passkey to add."""

    credential: NewCredential
    name: Text = Field("", description="At most 100 characters; by default the name of the client.", examples=["Phone"])


class PasskeyProof(_Answer):
    """A signature by a passkey."""

    credential: UsedCredential


class PasskeyLogin(PasskeyProof):
    """A sign-in with a passkey."""

    remember: bool = Field(False, description="Stay signed in when the browser is closed.")


class PasskeyName(Body):
    """The new name of a passkey."""

    name: Text = Field(description="1 to 100 characters.", examples=["Phone"])


class AddedPasskey(TypedDict):
    """The passkey."""

    passkey: Passkey
