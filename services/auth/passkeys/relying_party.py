"""Who we are to authenticators (WebAuthn's relying party): what they are told, and what of their answers is believed.

Signatures and formats are the library's to read; here stands what we ask for beyond that. Pure: no database, no clock.
"""

from __future__ import annotations

import ipaddress
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import webauthn
from webauthn import helpers
from webauthn.helpers import structs

from services.auth import domain
from services.auth.passkeys.domain import CEREMONY_LIFETIME, Made, Passkey, PasskeyInvalid, PasskeyUnusable, Signed

NAME = "Repruv"
CREDENTIAL_LIMIT = 16 * 1024
KEY_LIMIT = 2048
ID_LENGTHS = (16, 1023)
_TIMEOUT_MS = int(CEREMONY_LIFETIME.total_seconds() * 1000)
# What browsers send who were asked for no attestation: none, or a signature by the new key itself.
_FORMATS = {structs.AttestationFormat.NONE, structs.AttestationFormat.PACKED}
_PORTS = {"http": 80, "https": 443}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What an authenticator sent, not yet believed."""

    credential_id: bytes
    user_handle: bytes | None
    credential: structs.AuthenticationCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyingParty:
    """Where passkeys are of: they are bound to the domain, and used at the origin only."""

    rp_id: str
    """The domain."""
    origin: str

    @classmethod
    def of(cls, public_url: str, passkey_domain: str = "") -> RelyingParty | None:
        """Give the one of an address; None where browsers would refuse. Raises `ValueError` for a foreign domain."""
        parts = urlsplit(public_url)
        host = (parts.hostname or "").rstrip(".")
        named = passkey_domain.lower() or host
        if named != host and not host.endswith(f".{named}"):
            raise ValueError(f"{passkey_domain!r} must be the host of {public_url!r}, or a domain above it")
        if not host or _is_address(host) or not (parts.scheme == "https" or _is_this_machine(host)):
            return None
        port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
        return cls(rp_id=named, origin=f"{parts.scheme}://{host}{port}")

    def options_to_add(self, user: domain.User, challenge: bytes, known: Sequence[Passkey]) -> str:
        """Say which passkey an authenticator shall make: one that it finds by itself, and whose user it verifies."""
        options = webauthn.generate_registration_options(
            rp_id=self.rp_id,
            rp_name=NAME,
            user_id=user.user_id.bytes,
            user_name=user.email,
            user_display_name=user.name or user.email,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_described(known),
        )
        return webauthn.options_to_json(options)

    def options_to_sign(self, challenge: bytes, known: Sequence[Passkey] = ()) -> str:
        """Say what an authenticator shall sign, with one of these passkeys, or with any that it has."""
        options = webauthn.generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            allow_credentials=_described(known),
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def read_made(self, credential: str, challenge: bytes) -> Made:
        """Read the passkey that an authenticator has made. Raises `PasskeyUnusable`."""
        try:
            return self._made(credential, challenge)
        except Exception as error:
            # Whatever a stranger's bytes trip the library over: it has no one class of errors.
            logger.info("new passkey refused", extra={"cause": repr(error)[:200]})
            raise PasskeyUnusable() from error

    def _made(self, credential: str, challenge: bytes) -> Made:
        sent = helpers.parse_registration_credential_json(_bounded(credential))
        if helpers.parse_attestation_object(sent.response.attestation_object).fmt not in _FORMATS:
            raise ValueError("an attestation that nobody asked for")
        made = webauthn.verify_registration_response(
            credential=sent,
            expected_challenge=challenge,
            expected_rp_id=self.rp_id,
            expected_origin=self.origin,
            require_user_verification=True,
        )
        if not (
            ID_LENGTHS[0] <= len(made.credential_id) <= ID_LENGTHS[1] and len(made.credential_public_key) <= KEY_LIMIT
        ):
            raise ValueError("a credential out of bounds")
        # A key that is none would be found out at the first sign-in only.
        helpers.decoded_public_key_to_cryptography(helpers.decode_credential_public_key(made.credential_public_key))
        return Made(
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            transports=tuple(sorted({transport.value for transport in sent.response.transports or ()})),
            aaguid=uuid.UUID(made.aaguid),
            is_syncable=made.credential_device_type is structs.CredentialDeviceType.MULTI_DEVICE,
            is_synced=made.credential_backed_up,
        )

    def read_assertion(self, credential: str) -> Assertion:
        """Read whose passkey an authenticator says that it has used. Raises `PasskeyInvalid`."""
        try:
            sent = helpers.parse_authentication_credential_json(_bounded(credential))
        except Exception as error:
            raise _refused(error) from error
        return Assertion(credential_id=sent.raw_id, user_handle=sent.response.user_handle, credential=sent)

    def verify(self, assertion: Assertion, passkey: Passkey, challenge: bytes) -> Signed:
        """Say what an authenticator has signed with the key of a passkey. Raises `PasskeyInvalid`."""
        try:
            signed = webauthn.verify_authentication_response(
                credential=assertion.credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,  # ours to judge, since it is worth an event
                require_user_verification=True,
            )
        except Exception as error:
            raise _refused(error) from error
        # Level 3 of the standard wants both; the library leaves them to its callers.
        if assertion.user_handle not in (None, passkey.user_id.bytes):
            raise _refused("the passkey of another user")
        if (signed.credential_device_type is structs.CredentialDeviceType.MULTI_DEVICE) is not passkey.is_syncable:
            raise _refused("whether a passkey may be copied never changes")
        return Signed(sign_count=signed.new_sign_count, is_synced=signed.credential_backed_up)


def _described(passkeys: Sequence[Passkey]) -> list[structs.PublicKeyCredentialDescriptor]:
    return [
        structs.PublicKeyCredentialDescriptor(
            id=passkey.credential_id,
            transports=[structs.AuthenticatorTransport(transport) for transport in passkey.transports],
        )
        for passkey in passkeys
    ]


def _bounded(credential: str) -> str:
    if len(credential) > CREDENTIAL_LIMIT:
        raise ValueError("too long")
    return credential


def _refused(cause: Exception | str) -> PasskeyInvalid:
    logger.info("passkey refused", extra={"cause": repr(cause)[:200]})
    return PasskeyInvalid()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")
