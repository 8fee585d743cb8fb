"""A service outside this repository that the acceptance tests' system trusts."""

from __future__ import annotations

from repruv_client import credentials

NAME = "reports"
IDENTITY_KEY = credentials.new_identity_key()
TRUSTED = f"{NAME}:{credentials.public_key(IDENTITY_KEY)}"
"""The service's entry in TRUSTED_IDENTITY_KEYS."""
