"""Local addresses of the processes, in place of the host names in the compose file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dev import subprocesses
from dev.launcher.compose import Definition

LOOPBACK = "127.0.0.1"
# The ports of the servers in the compose file.
POSTGRES_PORT = 5432
NATS_PORT = 4222

Front = Callable[[str, int], int]


@dataclass(slots=True)
class Addresses:
    """The local port of each (service, port) in the compose file.

    Each replica has its own port, as each container has its own address. Callers get the addresses of all replicas, separated
    by commas, where the name of a container resolves to all of them.
    """

    ports: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    front: Front = lambda name, port: port
    """Returns the port by which the processes reach a local port of `name`: that of a proxy in front of it."""

    def reserve(self, definition: Definition, replicas: int, *, published: int) -> None:
        """Choose the ports of a process. `published` is the port for users, 0 for any free port."""
        if (port := definition.metrics_port) is not None:
            metrics_ports = self.ports[definition.name, port] = []
            while len(metrics_ports) < replicas:
                metrics_ports.append(self._free())
        if (port := definition.listen_port) is None:
            return
        is_published = definition.container_port == port
        ports = self.ports[definition.name, port] = [published] if is_published and published else []
        while len(ports) < replicas:
            ports.append(self._free())

    def of_replica(self, definition: Definition, index: int) -> int | None:
        """Return the local port of one replica, or None."""
        if definition.listen_port is None:
            return None
        return self.ports[definition.name, definition.listen_port][index]

    def environment(self, definition: Definition, index: int) -> dict[str, str]:
        """Return the environment of a process with `host:port` of containers replaced by local addresses."""
        translated = {name: self._translate(value) for name, value in definition.environment.items()}
        if (port := self.of_replica(definition, index)) is not None:
            translated["LISTEN"] = f"{LOOPBACK}:{port}"
        if definition.metrics_port is not None:
            translated["METRICS_ADDRESS"] = self.metrics_of_replica(definition, index)
        return translated

    def metrics_of_replica(self, definition: Definition, index: int) -> str:
        """Return the local `host:port` at which one replica serves its metrics; an empty string for none."""
        port = definition.metrics_port
        if port is None:
            return ""
        return f"{LOOPBACK}:{self.ports[definition.name, port][index]}"

    def probe_url(self, definition: Definition, index: int) -> str | None:
        """Return the local URL of the health check of a replica."""
        if definition.probe_url is None:
            return None
        probe = urlsplit(definition.probe_url)
        port = self.ports[definition.name, probe.port or 0][index]
        return probe._replace(netloc=f"{LOOPBACK}:{port}").geturl()

    def _translate(self, value: str) -> str:
        for (host, port), local in self.ports.items():
            pattern = rf"(?<![\w.-]){re.escape(host)}:{port}(?!\d)"
            if re.search(pattern, value):
                addresses = ",".join(f"{LOOPBACK}:{self.front(host, replica)}" for replica in local)
                value = re.sub(pattern, addresses, value)
        return value

    def _free(self) -> int:
        return subprocesses.free_port({port for ports in self.ports.values() for port in ports})


def servers(ports: Mapping[str, int]) -> dict[tuple[str, int], list[int]]:
    """Return the entries of the embedded servers, from their ports by name."""
    return {(name, POSTGRES_PORT if name.startswith("postgres") else NATS_PORT): [port] for name, port in ports.items()}
