"""The services of Repruv. Every other list of services in Python derives from this one.

Static text that names services (docker-compose.yml, deploy/nats/users.conf, the Dockerfiles) is compared with it by
tests/contract.
"""

from __future__ import annotations

SERVICES = ("auth", "demo", "jobs")
"""Each has a folder in services/, a PostgreSQL role and schema, a JetStream stream, and an image of this name."""
EDGES = ("gateway",)
"""Processes that call services and store nothing."""
CALLERS = (*SERVICES, *EDGES)
"""Each has an Ed25519 key that signs its calls, a NATS user, and a certificate."""
JOB_OWNERS = tuple(service for service in SERVICES if service != "jobs")
"""Each consumes the events of its own jobs from the stream of jobs."""
