"""Secrets of a deployment: passwords, and the Ed25519 identities with which the services sign their calls."""

from __future__ import annotations

import base64
import secrets

from chassis import identity

CALLERS = ("auth", "demo", "jobs", "gateway")
NATS_PASSWORDS = tuple(f"{user.upper()}_NATS_PASSWORD" for user in (*CALLERS, "provision"))
PASSWORDS = ("POSTGRES_PASSWORD", "AUTH_DB_PASSWORD", "DEMO_DB_PASSWORD", "JOBS_DB_PASSWORD", *NATS_PASSWORDS)

# The seeds that docker-compose.yml falls back to. Everybody can read them, so they protect nothing: every process
# refuses them when ENVIRONMENT is production.
LOCAL_ONLY_SEEDS = {caller: f"local-only-identity-of-{caller}-".ljust(43, "A") for caller in CALLERS}


def fresh() -> dict[str, str]:
    """Give a new random set of all secrets, by the names docker-compose.yml reads them by."""
    seeds = {caller: _encode(secrets.token_bytes(32)) for caller in CALLERS}
    sealing = {"ENCRYPTION_KEYS": f"first:{_encode(secrets.token_bytes(32))}"}
    return {**{name: _password() for name in PASSWORDS}, **sealing, **identity_variables(seeds)}


def identity_variables(seeds: dict[str, str]) -> dict[str, str]:
    """Give the variables for the callers' private seeds, and TRUSTED_IDENTITY_KEYS with the public keys that belong to them."""
    private = {f"{caller.upper()}_IDENTITY_KEY": seed for caller, seed in seeds.items()}
    trust = ",".join(f"{caller}:{identity.public_key(seed)}" for caller, seed in seeds.items())
    return {**private, "TRUSTED_IDENTITY_KEYS": trust}


def identity_names() -> frozenset[str]:
    """Give the names of the variables that `identity_variables` gives."""
    return frozenset({"TRUSTED_IDENTITY_KEYS", *(f"{caller.upper()}_IDENTITY_KEY" for caller in CALLERS)})


def _password() -> str:
    # A letter first: nats-server would read a value that begins with a digit as a number.
    return "p" + secrets.token_hex(20)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
