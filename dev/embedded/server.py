"""Base class of the embedded servers: a home directory, a lock held by its processes, a log, readiness."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, Self, cast

from dev import subprocesses

LOG_LIMIT_BYTES = 5_000_000
POLL_SECONDS = 0.05


class ServerFailed(RuntimeError):
    """A server could not be started. The message ends with the last lines of its log."""


class NotReady(Exception):
    """The server is not ready yet."""


class EmbeddedServer(ABC):
    """A server process with a home directory below `data_dir`. It listens on 127.0.0.1.

    A restarted server keeps its port.
    """

    name: str
    """The name of its directory, and of its service in docker-compose.yml."""
    stop_signal: ClassVar[signal.Signals]
    stop_grace_seconds: ClassVar[float] = 20.0

    def __init__(self, data_dir: Path, port: int = 0, *, name: str | None = None) -> None:
        self.name = name or self.name
        self.data_dir = data_dir.absolute()
        self.port = port or subprocesses.free_port()
        self.user: subprocesses.User | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None when the server is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log_path(self) -> Path:
        return self.home() / "log"

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Self]:
        """Run the server until the context ends, then delete its data."""
        try:
            self.start()
            yield self
        finally:
            self.erase()

    def start(self, timeout: float = 60.0) -> None:
        """Start the server and wait until it answers. Raises `ServerFailed` after `timeout` seconds."""
        if self.pid:
            return
        deadline = time.monotonic() + timeout
        with self._sole_ownership(deadline) as lock:
            self.prepare()
            with self._open_log() as log:
                self._process = subprocesses.spawn(
                    self.command(),
                    environment=self.environment(),
                    directory=self.home(),
                    death_signal=self.stop_signal,
                    output=log.fileno(),
                    user=self.user,
                    keep_open=[lock],
                )
        try:
            self._await_ready(deadline, self.probe)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down in order, if it runs."""
        if self._process:
            subprocesses.stop(self._process, request=self.stop_signal, grace=self.stop_grace_seconds)
            self._process = None

    def kill(self) -> None:
        """Kill the server with SIGKILL, like a power cut."""
        if self._process:
            subprocesses.kill(self._process)
            self._process = None

    def is_in_use(self) -> bool:
        """Return whether a process of the server runs, whichever process started it."""
        with contextlib.suppress(ServerFailed), self._sole_ownership(time.monotonic()):
            return False
        return True

    def restart(self) -> None:
        """Stop in order and start again on the same port."""
        self.stop()
        self.start()

    def erase(self) -> None:
        """Stop the server and delete all its data."""
        self.stop()
        home = self.home()
        shutil.rmtree(home)
        (self.data_dir / self.name).unlink(missing_ok=True)

    def home(self) -> Path:
        """Return the data directory. Creates it when missing."""
        home = self.data_dir / self.name
        home.mkdir(parents=True, exist_ok=True)
        return home

    @abstractmethod
    def prepare(self) -> None:
        """Create what the server needs to start. No process of it runs now."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the command line."""

    @abstractmethod
    def probe(self) -> None:
        """Talk to the server. Raises `NotReady` while it cannot serve."""

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}

    def failure(self, reason: str) -> ServerFailed:
        """Return the error with `reason` and the end of the log."""
        with contextlib.suppress(FileNotFoundError):
            tail = self.log_path.read_text(errors="replace").splitlines()[-15:]
            reason = "\n  ".join([reason, *tail])
        return ServerFailed(f"{self.name}: {reason}")

    def _await_ready(self, deadline: float, probe: Callable[[], None]) -> None:
        while True:
            if not self.pid:
                raise self.failure("ended while starting")
            try:
                return probe()
            except NotReady as problem:
                if time.monotonic() > deadline:
                    raise self.failure(f"not ready in time: {problem}") from problem
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _sole_ownership(self, deadline: float) -> Iterator[int]:
        """Hold the lock of the home and yield its descriptor. Every process of the server inherits it.

        The lock is free only when the last of them is gone, however the launcher ended.
        """
        descriptor = os.open(self.home() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise self.failure(f"another one still runs on {self.home()}") from error
                    time.sleep(POLL_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_log(self) -> BinaryIO:
        path = self.log_path
        mode = "wb" if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES else "ab"
        return cast(BinaryIO, path.open(mode))
