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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

from dev import subprocesses

LOG_LIMIT_BYTES = 5_000_000
POLL_SECONDS = 0.05


class ServerFailed(RuntimeError):
    """An engine could not be started; the message ends with the last lines of its log."""


class NotReady(Exception):
    """The engine does not serve yet; try again."""


class EmbeddedServer(ABC):
    """A server process that keeps its data in a home of its own below `data_dir`, and listens on 127.0.0.1.

    The port is kept from one start to the next, so clients find a restarted engine where they left it.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    stop_grace_seconds: ClassVar[float] = 20.0

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port or subprocesses.free_port()
        self.user: subprocesses.User | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the running server, None when it is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log_path(self) -> Path:
        return self.home() / "log"

    def start(self, timeout: float = 60.0) -> None:
        """Return once the engine answers; `ServerFailed` if it does not within `timeout` seconds."""
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
            self._await_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down in order; does nothing when the engine is down."""
        if self._process:
            subprocesses.stop(self._process, request=self.stop_signal, grace=self.stop_grace_seconds)
            self._process = None

    def kill(self) -> None:
        """End it by SIGKILL, as a power cut would."""
        if self._process:
            subprocesses.kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Stop in order and start again, on the same port."""
        self.stop()
        self.start()

    def erase(self) -> None:
        """Stop and delete all data, for ever."""
        self.stop()
        home = self.home()
        shutil.rmtree(home)
        (self.data_dir / self.name).unlink(missing_ok=True)

    def home(self) -> Path:
        """The directory that holds the data, made when missing."""
        home = self.data_dir / self.name
        home.mkdir(parents=True, exist_ok=True)
        return home

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server needs before it can start; no process of this engine runs."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The server's command line."""

    @abstractmethod
    def probe(self) -> None:
        """Really talk to the server; raises `NotReady` while it cannot serve."""

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}

    def failure(self, reason: str) -> ServerFailed:
        """The error that says `reason` and shows the end of the log."""
        with contextlib.suppress(FileNotFoundError):
            tail = self.log_path.read_text(errors="replace").splitlines()[-15:]
            reason = "\n  ".join([reason, *tail])
        return ServerFailed(f"{self.name}: {reason}")

    def _await_ready(self, deadline: float) -> None:
        while True:
            if not self.pid:
                raise self.failure("ended while starting")
            try:
                return self.probe()
            except NotReady as problem:
                if time.monotonic() > deadline:
                    raise self.failure(f"not ready in time: {problem}") from problem
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _sole_ownership(self, deadline: float) -> Iterator[int]:
        """Hold the home's lock and yield its descriptor; every process of the engine inherits it.

        So the lock is free only when the last of them is gone, however its launcher ended.
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
