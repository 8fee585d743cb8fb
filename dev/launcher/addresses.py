"""Local addresses of the processes, in place of the host names in the compose file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dev import subprocesses
from dev.launcher.compose import Definition

LOOPBACK = "127.0.0.1"
# The host names and ports of the servers in the compose file.
POSTGRES = ("postgres", 5432)
NATS = ("nats", 4222)


@dataclass(slots=True)
class Addresses:
    """The local port of each (service, port) in the compose file.

    Replicas of a service share a port: gRPC servers set SO_REUSEPORT, and the kernel spreads connections over them.
    Published ports cannot be shared: each further replica has its own port.
    """

    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    further: dict[tuple[str, int], int] = field(default_factory=dict)
    """The ports of further published replicas, by (service, index)."""

    def reserve(self, definition: Definition, replicas: int, *, published: int) -> None:
        """Choose the ports of a process. `published` is the port for users, 0 for any free port."""
        port = definition.listen_port
        if port is None:
            return
        is_published = definition.container_port == port
        self.ports[definition.name, port] = published if is_published and published else self._free()
        if is_published:
            for index in range(1, replicas):
                self.further[definition.name, index] = self._free()

    def of_replica(self, definition: Definition, index: int) -> int | None:
        """Return the local port of one replica, or None."""
        if definition.listen_port is None:
            return None
        return self.further.get((definition.name, index)) or self.ports[definition.name, definition.listen_port]

    def environment(self, definition: Definition, index: int) -> dict[str, str]:
        """Return the environment of a process with `host:port` of containers replaced by local addresses."""
        translated = {name: self._translate(value) for name, value in definition.environment.items()}
        if (port := self.of_replica(definition, index)) is not None:
            translated["LISTEN"] = f"{LOOPBACK}:{port}"
        return translated

    def probe_url(self, definition: Definition, index: int) -> str | None:
        """Return the local URL of the health check of a replica."""
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
    """Return the entries of the embedded servers."""
    return {POSTGRES: postgres_port, NATS: nats_port}
