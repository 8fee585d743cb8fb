"""Starts Repruv on a laptop: the processes of docker-compose.yml on embedded PostgreSQL and NATS."""

from __future__ import annotations

from dev.launcher.stack import Stack

__all__ = ["Stack"]
