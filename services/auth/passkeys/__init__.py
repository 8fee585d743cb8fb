"""Passkeys (WebAuthn): management, sign-in, reauthentication."""
