"""Encryption of secrets at rest, and rotation of its keys."""
