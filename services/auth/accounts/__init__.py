"""Accounts: registration, passwords, and recovery by email."""
