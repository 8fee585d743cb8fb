"""Authenticator apps and recovery codes."""
