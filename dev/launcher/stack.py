"""The whole system on this machine: embedded servers, then the processes of docker-compose.yml."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from chassis import database_url, tls
from dev import subprocesses
from dev.embedded import EmbeddedServers, Nats, Postgres, ServerFailed
from dev.embedded.nats_server import Protection
from dev.launcher import (
    addresses,
    certificates,
    compose,
    env_files,
    fork_server,
    log_output,
    ownership,
    reset,
    secrets,
    targets,
)
from dev.launcher.compose import Definition
from dev.launcher.replica import Log, Replica
from provision import keys

ROOT = Path(__file__).parent.parent.parent
LAUNCHER = "launcher"
"""The label of the stack's own log lines."""
READY_SECONDS = 60.0
RUN_ONCE_SECONDS = 120.0
POLL_SECONDS = 0.1
CRASHES_BEFORE_GIVING_UP = 3
HIGH_AVAILABILITY = ROOT / "deploy" / "ha.env"
# Variables that processes inherit from our environment, in addition to those of the compose file.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")


class StartFailed(RuntimeError):
    """The stack could not be started. Everything is stopped again."""


class Interrupted(Exception):
    """`request_stop` was called while the stack was starting."""


class Stack:
    """Starts, stops and disturbs the system. Not thread-safe, except for `request_stop` and `skip_grace_periods`.

    `gateway_port` 0 means any free port. `ha` starts the servers highly available: a primary with its synchronous standby, three
    NATS nodes. `scale` gives numbers of replicas by process name. `env` sets variables of the
    compose file (as a shell would), over those of our own environment. `log` is a callback or a file to append to. `front` puts
    proxies between the processes: see `Addresses.front`. `variant` returns variables of single replicas, by name and index.
    `forks` starts processes by a fork server: in less time and memory.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        gateway_port: int = 0,
        scale: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        ha: bool = False,
        log: Log | Path | None = None,
        front: addresses.Front | None = None,
        variant: Callable[[str, int], Mapping[str, str]] | None = None,
        forks: bool = False,
        compose_file: Path = ROOT / "docker-compose.yml",
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.compose_file = compose_file.absolute()
        self.servers: EmbeddedServers
        self._gateway_port = gateway_port or subprocesses.free_port()
        self._scale = dict(scale or {})
        self._env = dict(env or {})
        self._ha = ha
        self._log: Log = log_output.to_file(log) if isinstance(log, Path) else log or log_output.discard
        self._stop_requested = subprocesses.Flag()
        self._skip_grace = subprocesses.Flag()
        self._variables: dict[str, str] = {}
        self._definitions: dict[str, Definition] = {}
        self._front = front
        self._variant = variant
        self._forks = forks
        self._fork_server: fork_server.ForkServer | None = None
        self._addresses = addresses.Addresses()
        self._replicas: dict[str, list[Replica]] = {}
        self._exit_stack = contextlib.ExitStack()

    # --- the whole stack ---

    def start(self) -> None:
        """Start every process and wait until it is ready. Raises `StartFailed`, `Interrupted` or `AlreadyRunning`."""
        try:
            self._exit_stack.enter_context(ownership.hold_ownership(self.data_dir))
            self._read_definitions()
            if self._forks:
                self._fork_server = fork_server.inherited() or self._exit_stack.enter_context(
                    fork_server.running(self._common_environment())
                )
            certificates.make(self.data_dir)
            self._start_servers()
            self._place_replicas()
            self._note_targets()
            for name in self._replicas:
                self._await_dependencies(self._definitions[name])
                self.start_process(name, wait=False)
            for name in self._replicas:
                self._await_ready(name)
        except BaseException:
            self._skip_grace.set()  # a stack that never served has nothing to finish
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in reverse order. Nothing is left running, whatever error occurs."""
        self._stop_requested.set()
        with self._exit_stack, ThreadPoolExecutor(max_workers=16) as workers:
            for replicas in reversed(self._levels()):
                list(workers.map(lambda replica: replica.stop(self._skip_grace), replicas))
        self._exit_stack = contextlib.ExitStack()
        self._stop_requested.clear()
        self._skip_grace.clear()

    def request_stop(self) -> None:
        """Abort a running `start`. For signal handlers."""
        self._stop_requested.set()

    def skip_grace_periods(self) -> None:
        """End the grace periods of a running `stop`. For signal handlers."""
        self._skip_grace.set()

    def erase(self) -> None:
        """Stop everything and delete all data."""
        self.stop()
        reset.erase(self.data_dir)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- addresses ---

    @property
    def url(self) -> str:
        """The URL of the gateway."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """The URLs of the replicas of the gateway."""
        published = [d for d in self._definitions.values() if d.container_port and d.name in self._replicas]
        ports = [
            self._addresses.of_replica(d, index) for d in published for index in range(len(self._replicas[d.name]))
        ]
        return [f"http://127.0.0.1:{port}" for port in ports]

    @property
    def metrics_addresses(self) -> dict[str, list[str]]:
        """The `host:port` of `/metrics` of each replica, by process. Gateways serve it beside their pages."""
        addresses = {
            name: [self._addresses.metrics_of_replica(self._definitions[name], i) for i in range(len(replicas))]
            for name, replicas in self._replicas.items()
            if self._definitions[name].metrics_port is not None
        }
        return {**addresses, "gateway": [url.removeprefix("http://") for url in self.urls]}

    def target(self, name: str) -> str:
        """Return the gRPC target (host:port) of a service."""
        return f"127.0.0.1:{self._addresses.of_replica(self._definitions[name], 0)}"

    def certificate(self, name: str) -> tls.Certificate:
        return certificates.load_certificate(self.data_dir, name)

    def nats_url(self, user: str) -> str:
        """Return the URL of NATS for the account of a service. Connections must be encrypted."""
        return self.servers.nats_url(user, self._variables[f"{user.upper()}_NATS_PASSWORD"])

    def database_url(self, name: str = "postgres") -> str:
        """Return the URL of the primary for the role of a service, by default the superuser."""
        return database_url.complete(self.servers.database_url(name, self._variables[_password_name(name)]), None)

    def environment(self, name: str, index: int = 0) -> dict[str, str]:
        return dict(self._replicas[name][index].environment)

    def restart_dead_servers(self) -> None:
        """Restart dead servers of a highly available stack. A dead primary waits for the promotion of its standby."""
        before = {name: server.pid for name, server in self.servers.by_name.items()}
        try:
            self.servers.restart_dead_servers()
        except ServerFailed as error:
            self._log(LAUNCHER, str(error))
        for name, server in self.servers.by_name.items():
            if server.pid and server.pid != before[name]:
                self._log(LAUNCHER, f"{name} is up again, process {server.pid}")

    # --- single processes ---

    @property
    def names(self) -> list[str]:
        """The long-running processes in start order."""
        return [name for name in self._replicas if self._definitions[name].restarts]

    def count(self, name: str) -> int:
        """Return the number of replicas of a process, running or not."""
        return len(self._replicas[name])

    def pids(self, name: str) -> list[int]:
        """Return the process ids of the running replicas."""
        return [pid for replica in self._replicas[name] if (pid := replica.pid) is not None]

    def start_process(
        self, name: str, index: int | None = None, *, wait: bool = True, env: Mapping[str, str] | None = None
    ) -> None:
        """Start the replicas of `name` (or one) that are down, from now on with `env`, and wait until they are ready."""
        for replica in self._replicas_of(name, index):
            replica.environment.update(env or {})
            replica.start()
        if wait:
            self._await_ready(name, index)

    def stop_process(self, name: str, index: int | None = None) -> None:
        """Stop replicas with SIGTERM. They stay down until `start_process`."""
        for replica in self._replicas_of(name, index):
            replica.stop(self._skip_grace)

    def kill(self, name: str, index: int | None = 0) -> None:
        """Kill a replica (with index None all). It stays down until `start_process`."""
        for replica in self._replicas_of(name, index):
            replica.kill()

    def restart(self, name: str, index: int | None = None, *, env: Mapping[str, str] | None = None) -> None:
        """Stop and start replicas, from now on with the variables `env`."""
        for replica in self._replicas_of(name, index):
            replica.stop(self._skip_grace)
            replica.environment.update(env or {})
            replica.start()
        self._await_ready(name, index)

    # --- internals ---

    def _read_definitions(self) -> None:
        variables = compose.variables(self.compose_file)
        if unknown := sorted(self._env.keys() - variables):
            raise ValueError(f"{self.compose_file.name} does not read {', '.join(unknown)}")
        defaults = {
            "PUBLIC_URL": f"http://127.0.0.1:{self._gateway_port}",
            # The embedded PostgreSQL is built without TLS and reached over the loopback only.
            "POSTGRES_SSLMODE": "disable",
        }
        chosen = {"GATEWAY_PORT": str(self._gateway_port)}
        chosen |= env_files.read(HIGH_AVAILABILITY) if self._ha else {}
        self._variables = {**defaults, **os.environ, **secrets.load(self.data_dir), **self._env, **chosen}
        self._definitions = compose.read(self.compose_file, self._variables)
        built = {name for name, definition in self._definitions.items() if definition.image is None}
        if foreign := sorted(self._scale.keys() - built):
            raise ValueError(f"cannot scale {', '.join(foreign)}: {self.compose_file.name} builds no such process")

    def _start_servers(self) -> None:
        password = self._variables["POSTGRES_PASSWORD"]
        if self._ha:
            self.servers = EmbeddedServers.highly_available(
                self.data_dir, postgres_password=password, protection=self._protection()
            )
        else:
            self.servers = EmbeddedServers(
                postgres=Postgres(self.data_dir, password=password),
                nats=Nats(self.data_dir, protection=self._protection()),
            )
        images = {(d.image or "").partition(":")[0] for d in self._definitions.values()}
        if unsupported := sorted(images - {"", "postgres", "nats"}):
            raise StartFailed(f"there is no embedded server for the image {', '.join(unsupported)}")
        for image, start in (("postgres", self.servers.start_postgres), ("nats", self.servers.start_nats)):
            if image in images:
                servers = [server for name, server in self.servers.by_name.items() if name.startswith(image)]
                for server in servers:
                    self._exit_stack.callback(server.stop)
                start()
                for server in servers:
                    process = f", process {server.pid}" if self._ha else ""
                    self._log(LAUNCHER, f"{server.name} is up on port {server.port}{process}")
                self._give_up_if_asked()

    def _protection(self) -> Protection:
        passwords = {name: self._variables[name] for name in keys.NATS_PASSWORDS}
        return Protection(certificate=certificates.load_certificate(self.data_dir, "nats"), passwords=passwords)

    def _place_replicas(self) -> None:
        built = [definition for definition in self._definitions.values() if definition.image is None]
        self._addresses = addresses.Addresses(
            addresses.servers({name: server.port for name, server in self.servers.by_name.items()})
        )
        if self._front:
            self._addresses.front = self._front
        for definition in built:
            self._addresses.reserve(definition, self._count(definition), published=self._gateway_port)
        self._replicas = {d.name: [self._replica(d, index) for index in range(self._count(d))] for d in built}

    def _note_targets(self) -> None:
        listening = [name for name in self._replicas if self._definitions[name].listen_port is not None]
        self._exit_stack.callback(targets.forget, self.data_dir)
        running = {name: server for name, server in self.servers.by_name.items() if server.pid}
        servers = {name: f"127.0.0.1:{server.port}" for name, server in running.items()}
        targets.write(self.data_dir, {**servers, **{name: self.target(name) for name in listening}})

    def _replica(self, definition: Definition, index: int) -> Replica:
        program, *arguments = (certificates.localized(word, self.data_dir) for word in definition.command)
        environment = self._addresses.environment(definition, index)
        return Replica(
            definition.name if self._count(definition) == 1 else f"{definition.name}-{index + 1}",
            [sys.executable if program == "python" else program, *arguments],
            {
                **self._common_environment(),
                **{name: certificates.localized(value, self.data_dir) for name, value in environment.items()},
                **(self._variant(definition.name, index) if self._variant else {}),
            },
            directory=self.compose_file.parent,
            log=self._log,
            restarts=definition.restarts,
            grace_seconds=definition.stop_grace_seconds,
            probe_url=self._addresses.probe_url(definition, index),
            fork_server=self._fork_server,
        )

    def _common_environment(self) -> dict[str, str]:
        """Return the variables that all processes have in addition to those of the compose file."""
        root = self.compose_file.parent
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONPATH": f"{root}:{root / 'protos' / 'gen'}",
            "PYTHONUNBUFFERED": "1",
        }

    def _count(self, definition: Definition) -> int:
        return self._scale.get(definition.name, 1)

    def _await_dependencies(self, definition: Definition) -> None:
        for name, condition in definition.depends_on.items():
            if name not in self._replicas:
                continue  # an embedded server: already up
            if condition == "service_healthy":
                self._await_ready(name)
            elif condition == "service_completed_successfully":
                self._await_completion(name)

    def _await_completion(self, name: str) -> None:
        def has_completed(replica: Replica) -> bool:
            if replica.exit_code:
                raise StartFailed(f"{replica.label} failed with exit code {replica.exit_code}")
            return replica.exit_code == 0 and not replica.is_supervised

        self._await(self._replicas[name], has_completed, RUN_ONCE_SECONDS, "has not come to its end")

    def _await_ready(self, name: str, index: int | None = None) -> None:
        if not self._definitions[name].restarts:
            return self._await_completion(name)
        return self._await(self._replicas_of(name, index), Replica.is_ready, READY_SECONDS, "is not ready")

    def _await(
        self, replicas: Iterable[Replica], condition: Callable[[Replica], bool], seconds: float, complaint: str
    ) -> None:
        deadline = time.monotonic() + seconds
        for replica in replicas:
            while not condition(replica):
                self._give_up_if_asked()
                if replica.crashes >= CRASHES_BEFORE_GIVING_UP:
                    raise StartFailed(f"{replica.label} crashed {replica.crashes} times while starting")
                if time.monotonic() > deadline:
                    raise StartFailed(f"{replica.label} {complaint} after {seconds:g} s")
                time.sleep(POLL_SECONDS)

    def _give_up_if_asked(self) -> None:
        if self._stop_requested.is_set():
            raise Interrupted

    def _replicas_of(self, name: str, index: int | None) -> list[Replica]:
        return self._replicas[name] if index is None else [self._replicas[name][index]]

    def _levels(self) -> list[list[Replica]]:
        """Return all replicas in groups. Each group depends only on earlier groups."""
        depths = compose.depths(self._definitions)
        by_depth: dict[int, list[Replica]] = {}
        for name, replicas in self._replicas.items():
            by_depth.setdefault(depths[name], []).extend(replicas)
        return [by_depth[depth] for depth in sorted(by_depth)]


def _password_name(role: str) -> str:
    return "POSTGRES_PASSWORD" if role == "postgres" else f"{role.upper()}_DB_PASSWORD"
