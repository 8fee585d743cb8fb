"""Shared plumbing of every process. Knows users and the service that signs for them (`identity`), no other service."""
