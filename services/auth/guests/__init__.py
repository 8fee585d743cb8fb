"""Guests: accounts without an address, to try Repruv for some hours."""
