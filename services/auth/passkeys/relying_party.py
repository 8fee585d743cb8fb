"""WebAuthn relying party: the options sent to authenticators, and the verification of their responses.

The library reads formats and verifies signatures; this module adds the stricter checks. Pure: no database, no clock.
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
from services.auth.passkeys.domain import (
    CEREMONY_LIFETIME,
    Passkey,
    PasskeyInvalid,
    PasskeyUnusable,
    VerifiedAssertion,
    VerifiedRegistration,
)

NAME = "Repruv"
CREDENTIAL_LIMIT = 16 * 1024
KEY_LIMIT = 2048
ID_LENGTHS = (16, 1023)
_TIMEOUT_MS = int(CEREMONY_LIFETIME.total_seconds() * 1000)
# What browsers send when no attestation is requested: none, or a signature by the new key itself.
_FORMATS = {structs.AttestationFormat.NONE, structs.AttestationFormat.PACKED}
_PORTS = {"http": 80, "https": 443}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """An authenticator's response, not yet verified."""

    credential_id: bytes
    user_handle: bytes | None
    credential: structs.AuthenticationCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class RelyingParty:
    """The site that passkeys belong to: bound to its domain, usable at its origin only."""

    rp_id: str
    """The domain."""
    origin: str

    @classmethod
    def from_url(cls, public_url: str, passkey_domain: str = "") -> RelyingParty | None:
        """Return the relying party of an address; None where browsers refuse passkeys.

        Raises `ValueError` for a domain that the host does not belong to.
        """
        parts = urlsplit(public_url)
        host = (parts.hostname or "").rstrip(".")
        rp_id = passkey_domain.lower() or host
        if rp_id != host and not host.endswith(f".{rp_id}"):
            raise ValueError(f"{passkey_domain!r} must be the host of {public_url!r}, or a domain above it")
        if not host or _is_ip_address(host) or not (parts.scheme == "https" or _is_localhost(host)):
            return None
        port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
        return cls(rp_id=rp_id, origin=f"{parts.scheme}://{host}{port}")

    def creation_options(self, user: domain.User, challenge: bytes, existing: Sequence[Passkey]) -> str:
        """Return the options for a new discoverable passkey with user verification, as JSON."""
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
            exclude_credentials=_descriptors(existing),
        )
        return webauthn.options_to_json(options)

    def request_options(self, challenge: bytes, passkeys: Sequence[Passkey] = ()) -> str:
        """Return the options for a signature by one of the allowed passkeys, or by any if none are named, as JSON."""
        options = webauthn.generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            allow_credentials=_descriptors(passkeys),
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def verify_registration(self, credential: str, challenge: bytes) -> VerifiedRegistration:
        """Verify a new credential. Raises `PasskeyUnusable`."""
        try:
            return self._verify_registration(credential, challenge)
        except Exception as error:
            # The library has no common class for the errors that malformed bytes cause.
            logger.info("new passkey refused", extra={"cause": repr(error)[:200]})
            raise PasskeyUnusable() from error

    def _verify_registration(self, credential: str, challenge: bytes) -> VerifiedRegistration:
        response = helpers.parse_registration_credential_json(_require_bounded(credential))
        if helpers.parse_attestation_object(response.response.attestation_object).fmt not in _FORMATS:
            raise ValueError("an attestation that was not requested")
        verified = webauthn.verify_registration_response(
            credential=response,
            expected_challenge=challenge,
            expected_rp_id=self.rp_id,
            expected_origin=self.origin,
            require_user_verification=True,
        )
        if not (
            ID_LENGTHS[0] <= len(verified.credential_id) <= ID_LENGTHS[1]
            and len(verified.credential_public_key) <= KEY_LIMIT
        ):
            raise ValueError("a credential out of bounds")
        # An invalid key would otherwise fail only at the first sign-in.
        helpers.decoded_public_key_to_cryptography(helpers.decode_credential_public_key(verified.credential_public_key))
        return VerifiedRegistration(
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            transports=tuple(sorted({transport.value for transport in response.response.transports or ()})),
            aaguid=uuid.UUID(verified.aaguid),
            is_syncable=verified.credential_device_type is structs.CredentialDeviceType.MULTI_DEVICE,
            is_synced=verified.credential_backed_up,
        )

    def read_assertion(self, credential: str) -> Assertion:
        """Parse a response to find its passkey; nothing is verified yet. Raises `PasskeyInvalid`."""
        try:
            response = helpers.parse_authentication_credential_json(_require_bounded(credential))
        except Exception as error:
            raise _log_refusal(error) from error
        return Assertion(credential_id=response.raw_id, user_handle=response.response.user_handle, credential=response)

    def verify_assertion(self, assertion: Assertion, passkey: Passkey, challenge: bytes) -> VerifiedAssertion:
        """Verify a signature with the key of a passkey. Raises `PasskeyInvalid`."""
        try:
            verified = webauthn.verify_authentication_response(
                credential=assertion.credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,  # the caller compares counters, to record a regression
                require_user_verification=True,
            )
        except Exception as error:
            raise _log_refusal(error) from error
        # WebAuthn Level 3 requires both checks; the library leaves them to callers.
        if assertion.user_handle not in (None, passkey.user_id.bytes):
            raise _log_refusal("the passkey of another user")
        if (verified.credential_device_type is structs.CredentialDeviceType.MULTI_DEVICE) is not passkey.is_syncable:
            raise _log_refusal("backup eligibility changed")
        return VerifiedAssertion(sign_count=verified.new_sign_count, is_synced=verified.credential_backed_up)


def _descriptors(passkeys: Sequence[Passkey]) -> list[structs.PublicKeyCredentialDescriptor]:
    return [
        structs.PublicKeyCredentialDescriptor(
            id=passkey.credential_id,
            transports=[structs.AuthenticatorTransport(transport) for transport in passkey.transports],
        )
        for passkey in passkeys
    ]


def _require_bounded(credential: str) -> str:
    if len(credential) > CREDENTIAL_LIMIT:
        raise ValueError("too long")
    return credential


def _log_refusal(cause: Exception | str) -> PasskeyInvalid:
    logger.info("passkey refused", extra={"cause": repr(cause)[:200]})
    return PasskeyInvalid()


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")
