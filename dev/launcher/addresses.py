"""Local addresses of the processes, in place of the host names in the compose file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dev import subprocesses
from dev.launcher.compose import Definition

LOOPBACK = "127.0.0.1"
# The ports by which the compose file reaches the engines.
POSTGRES = ("postgres", 5432)
NATS = ("nats", 4222)


@dataclass(slots=True)
class Addresses:
    """The local port of each (service, port) that the compose file speaks of.

    Replicas of a service share its port: the kernel spreads connections over them, as gRPC servers set SO_REUSEPORT.
    What is published to users cannot be shared so, there each further replica has a port of its own.
    """

    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    further: dict[tuple[str, int], int] = field(default_factory=dict)
    """The ports of published replicas after the first, by (service, index)."""

    def reserve(self, definition: Definition, replicas: int, *, published: int) -> None:
        """Choose the ports of a process; `published` is the one for users, 0 for any free one."""
        port = definition.listen_port
        if port is None:
            return
        is_published = definition.container_port == port
        self.ports[definition.name, port] = published if is_published and published else self._free()
        if is_published:
            for index in range(1, replicas):
                self.further[definition.name, index] = self._free()

    def of_replica(self, definition: Definition, index: int) -> int | None:
        """The local port of one replica, None when it listens on nothing."""
        if definition.listen_port is None:
            return None
        return self.further.get((definition.name, index)) or self.ports[definition.name, definition.listen_port]

    def environment(self, definition: Definition, index: int) -> dict[str, str]:
        """The process's environment with `host:port` of containers replaced by addresses of this machine."""
        translated = {name: self._translate(value) for name, value in definition.environment.items()}
        if (port := self.of_replica(definition, index)) is not None:
            translated["LISTEN"] = f"{LOOPBACK}:{port}"
        return translated

    def probe_url(self, definition: Definition, index: int) -> str | None:
        """The URL of the replica's health check on this machine."""
        if definition.probe_url is None:
            return None
        local = f"{LOOPBACK}:{self.of_replica(definition, index)}"
        return definition.probe_url.replace(f"{LOOPBACK}:{definition.listen_port}", local)

    def _translate(self, value: str) -> str:
        for (host, port), local in self.ports.items():
            value = re.sub(rf"(?<![\w.-]){re.escape(host)}:{port}(?!\d)", f"{LOOPBACK}:{local}", value)
        return value

    def _free(self) -> int:
        return subprocesses.free_port({*self.ports.values(), *self.further.values()})


def servers(postgres_port: int, nats_port: int) -> Mapping[tuple[str, int], int]:
    """The entries for the embedded engines."""
    return {POSTGRES: postgres_port, NATS: nats_port}
