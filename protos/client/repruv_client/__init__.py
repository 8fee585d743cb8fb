"""Client of Repruv's services: encrypted and signed calls with a deadline and retries. docs/calling-us.md shows its use."""

from __future__ import annotations

from repruv_client.calls import CallFailed, Client, new_id
from repruv_client.credentials import Certificate, CredentialsUnusable

__all__ = ["CallFailed", "Certificate", "Client", "CredentialsUnusable", "new_id"]
