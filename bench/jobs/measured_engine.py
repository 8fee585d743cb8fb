"""One engine under test: the processes of its script, and the processor time of its servers."""

from __future__ import annotations

import collections
import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cpu
from bench.jobs.peers import contract
from dev import subprocesses

COMMAND_SECONDS = contract.DEADLINE_SECONDS * 2 + 120
STOP_SECONDS = 10.0


class Failed(Exception):
    """A script failed. The message ends with its last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredEngine:
    """An engine that is ready to be measured."""

    command: Sequence[str | Path]
    """Its script. See `peers.contract`."""
    environment: Mapping[str, str]
    directory: Path
    """The folder of records and logs."""
    servers: Callable[[], Mapping[str, Sequence[int]]]
    """The processes of its servers by name, without worker and client."""
    checkpoint: Callable[[], None]
    """Runs a checkpoint, so that no measurement pays for an earlier one."""

    def run(self, *arguments: str, seconds: float = 0.0) -> tuple[dict[str, Any], dict[str, float]]:
        """Run a command of the script. Return its result, and the processor seconds of each server while it was measured.

        `seconds` is how long the command submits. Raises `Failed` if it fails or takes `COMMAND_SECONDS` longer.
        """
        process = self._spawn(arguments, subprocess.PIPE)
        watchdog = threading.Timer(COMMAND_SECONDS + seconds, subprocesses.kill, [process])
        watchdog.start()
        last: collections.deque[str] = collections.deque(maxlen=5)
        result: dict[str, Any] = {}
        before = after = self._costs()
        try:
            assert process.stdout
            for line in map(bytes.decode, process.stdout):
                if line.startswith(contract.BEGIN):
                    before = self._costs()
                elif line.startswith(contract.RESULT):
                    result, after = json.loads(line.removeprefix(contract.RESULT)), self._costs()
                else:
                    last.append(line.strip())
            if process.wait(STOP_SECONDS):
                raise Failed(f"`{arguments[0]}` failed: {' | '.join(last)}"[-600:])
        finally:
            watchdog.cancel()
            subprocesses.kill(process)
        return result, {name: after[name] - before[name] for name in after}

    @contextlib.contextmanager
    def working(self, record: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker while the context lasts."""
        worker = self.start_worker(record)
        try:
            yield worker
        finally:
            subprocesses.stop(worker, request=signal.SIGTERM, grace=STOP_SECONDS)

    def start_worker(self, record: Path, log: str = "worker.log") -> subprocess.Popen[bytes]:
        """Start a worker. The caller stops it."""
        with (self.directory / log).open("ab") as file:
            return self._spawn(("work", str(record)), file.fileno())

    def _spawn(self, arguments: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        return subprocesses.spawn(
            [*self.command, *arguments],
            environment=self.environment,
            directory=self.directory,
            death_signal=signal.SIGKILL,
            output=output,
        )

    def _costs(self) -> dict[str, float]:
        return {name: cpu.processor_seconds(pids) for name, pids in self.servers().items()}
