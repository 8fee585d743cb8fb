"""Shared plumbing of every process. Knows no noun of any service."""
