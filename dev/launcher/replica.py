"""One supervised process: started, its output logged, restarted after a crash, stopped in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from chassis import probe
from dev import subprocesses
from dev.launcher.fork_server import ForkServer

Log = Callable[[str, str], None]
"""Called from any thread with the label of a process and a line of its output or about it."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
STEADY_SECONDS = 30.0
OUTPUT_WAIT_SECONDS = 2.0


class Replica:
    """A process that is kept running, or runs once, until it is stopped."""

    def __init__(
        self,
        label: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        directory: Path,
        log: Log,
        restarts: bool,
        grace_seconds: float,
        probe_url: str | None = None,
        fork_server: ForkServer | None = None,
    ) -> None:
        self.label = label
        self.environment = dict(environment)
        self.probe_url = probe_url
        self.crashes = 0
        """The number of unexpected exits."""
        self.exit_code: int | None = None
        self._command = command
        self._directory = directory
        self._log = log
        self._restarts = restarts
        self._grace_seconds = grace_seconds
        self._fork_server = fork_server
        self._lock = threading.Lock()
        self._process: subprocesses.Process | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while it does not run."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def is_supervised(self) -> bool:
        """Whether it runs or will be restarted after a crash."""
        return self._supervisor is not None and self._supervisor.is_alive()

    def is_ready(self) -> bool:
        """Return whether it runs and its probe, if it has one, succeeds."""
        return self.pid is not None and (self.probe_url is None or probe.is_ready(self.probe_url))

    def start(self) -> None:
        """Start the process unless it is already kept running."""
        if self.is_supervised:
            return
        self._stopping.clear()
        self.crashes = 0
        self.exit_code = None
        self._supervisor = threading.Thread(target=self._supervise, name=f"supervise {self.label}", daemon=True)
        self._supervisor.start()

    def stop(self, skip_grace: subprocesses.Flag | None = None) -> None:
        """Send SIGTERM, wait the grace period (cut short by `skip_grace`), then kill. Return when it is gone."""
        self._end(
            lambda process: subprocesses.stop(
                process, request=signal.SIGTERM, grace=self._grace_seconds, skip_grace=skip_grace
            )
        )

    def kill(self) -> None:
        """Kill the process. It stays down until `start`."""
        self._end(subprocesses.kill)

    def _end(self, end: Callable[[subprocesses.Process], None]) -> None:
        with self._lock:
            self._stopping.set()
            process = self._process
        if process:
            end(process)
        if self._supervisor:
            self._supervisor.join(OUTPUT_WAIT_SECONDS * 2)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            started_at = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                try:
                    self._process = process = self._spawn()
                except OSError as error:
                    self._log(self.label, f"cannot be started: {error}")
                    self.exit_code = 127
                    return
            self.exit_code = self._follow(process)
            if self._stopping.is_set() or not self._restarts:
                return
            self.crashes += 1
            if time.monotonic() - started_at > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._log(self.label, f"{_describe_exit(self.exit_code)}; starting it again in {pause:g} s")
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _spawn(self) -> subprocesses.Process:
        # If the fork server dies, its processes die too; they are started again without it.
        if self._fork_server and self._fork_server.is_alive and list(self._command[:2]) == [sys.executable, "-m"]:
            try:
                return self._fork_server.spawn(self._command[2:], environment=self.environment)
            except OSError as error:
                self._log(self.label, f"cannot be forked: {error}")
        return subprocesses.spawn(
            self._command,
            environment=self.environment,
            directory=self._directory,
            # Without the launcher nothing waits for an orderly end, and our processes survive a kill.
            death_signal=signal.SIGKILL,
            output=subprocess.PIPE,
        )

    def _follow(self, process: subprocesses.Process) -> int:
        """Log its lines until it ends. Return its exit code."""
        reader = threading.Thread(target=self._read, args=[process.stdout], name=f"read {self.label}", daemon=True)
        reader.start()
        code = process.wait()
        subprocesses.kill(process)  # the rest of its group
        reader.join(OUTPUT_WAIT_SECONDS)
        return code

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._log(self.label, line.decode(errors="replace").rstrip())


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
