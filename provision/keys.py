"""Secrets of a deployment: passwords, the encryption key, and the Ed25519 keys with which the services sign their calls."""

from __future__ import annotations

import base64
import secrets

from chassis import identity, settings
from provision.services import CALLERS, SERVICES

NATS_PASSWORDS = tuple(f"{user.upper()}_NATS_PASSWORD" for user in (*CALLERS, "provision"))
DATABASE_PASSWORDS = {service: f"{service.upper()}_DB_PASSWORD" for service in SERVICES}
PASSWORDS = ("POSTGRES_PASSWORD", *DATABASE_PASSWORDS.values(), *NATS_PASSWORDS)

LOCAL_ONLY_SEEDS = {caller: settings.local_only_seed(caller) for caller in CALLERS}
"""The defaults of docker-compose.yml. They are public: every process rejects them when ENVIRONMENT is production."""


def fresh() -> dict[str, str]:
    """Return new random values of all secrets, by their names in docker-compose.yml."""
    seeds = {caller: _encode(secrets.token_bytes(32)) for caller in CALLERS}
    encryption = {"ENCRYPTION_KEYS": f"first:{_encode(secrets.token_bytes(32))}"}
    return {**{name: _password() for name in PASSWORDS}, **encryption, **identity_variables(seeds)}


def identity_variables(seeds: dict[str, str]) -> dict[str, str]:
    """Return the variables of the callers' private seeds, and TRUSTED_IDENTITY_KEYS with their public keys."""
    private = {f"{caller.upper()}_IDENTITY_KEY": seed for caller, seed in seeds.items()}
    trust = ",".join(f"{caller}:{identity.public_key(seed)}" for caller, seed in seeds.items())
    return {**private, "TRUSTED_IDENTITY_KEYS": trust}


def identity_names() -> frozenset[str]:
    """Return the names of the variables that `identity_variables` returns."""
    return frozenset({"TRUSTED_IDENTITY_KEYS", *(f"{caller.upper()}_IDENTITY_KEY" for caller in CALLERS)})


def _password() -> str:
    # Starts with a letter: nats-server reads a value that starts with a digit as a number.
    return "p" + secrets.token_hex(20)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
