"""Starts Python processes as forks of one that has imported their libraries (decision 0069).

The server has one thread, no event loop and no connection, and imports no module of a program.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from dev import die_with_parent, subprocesses

ROOT = Path(__file__).parents[2]
PROGRAMS = ("services", "gateway", "provision")
"""Packages that a process imports itself, after the fork: each has its own metrics."""
LIBRARIES = ("chassis", "worker", "lifecycle")
START_SECONDS = 60.0
SERVER = f"from {__name__} import main; main()"
"""The program of the server. `-m` would import this module twice."""
MESSAGE_BYTES = 131_072
"""More than a command with its environment has."""


class ForkedProcess:
    """A process that the fork server has started; a `subprocesses.Process`."""

    def __init__(self, output: IO[bytes]) -> None:
        self.stdout = output
        self.started: Future[int] = Future()
        self.ended: Future[int] = Future()

    @property
    def pid(self) -> int:
        return self.started.result(START_SECONDS)

    def poll(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self.ended.result(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None

    def end(self, code: int) -> None:
        """Note its exit code; one that has not started never will."""
        if not self.started.done():
            self.started.set_exception(ChildProcessError(f"ended with {code} before it started"))
        self.ended.set_result(code)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """The fork server, seen from its parent. If it dies, its processes die with it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._processes: dict[int, ForkedProcess] = {}
        self.is_alive = True
        threading.Thread(target=self._follow, name="fork server", daemon=True).start()

    def spawn(
        self, module: Sequence[str], *, environment: Mapping[str, str], has_server: bool = False
    ) -> ForkedProcess:
        """Run `python -m *module` in its own session and in the directory of the server, with its output in a pipe.

        With `has_server` the process has a fork server of its own: see `inherited`.
        """
        reading, writing = os.pipe()
        number, process = next(self._numbers), ForkedProcess(os.fdopen(reading, "rb"))
        self._processes[number] = process
        try:
            request = json.dumps([number, module, environment, has_server]).encode()
            socket.send_fds(self._channel, [request], [writing])
        finally:
            os.close(writing)
        process.started.result(START_SECONDS)
        return process

    def _follow(self) -> None:
        # A server that is killed resets the channel if it has not read all requests.
        with contextlib.suppress(ConnectionResetError):
            while message := self._channel.recv(MESSAGE_BYTES):
                number, event, value = json.loads(message)
                if event == "started":
                    self._processes[number].started.set_result(value)
                else:
                    self._processes.pop(number).end(value)
        self.is_alive = False
        for process in list(self._processes.values()):
            process.end(-signal.SIGKILL)


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Run a fork server while the context lasts. It imports libraries with this environment."""
    parent_socket, child_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with parent_socket:
        with child_socket:
            server = subprocesses.spawn(
                [sys.executable, "-c", SERVER, str(child_socket.fileno())],
                environment=environment,
                directory=ROOT,
                death_signal=signal.SIGKILL,
                output=2,
                keep_open=[child_socket.fileno()],
            )
        try:
            yield ForkServer(parent_socket)
        finally:
            subprocesses.kill(server)


_own: tuple[int, socket.socket] | None = None
"""The process id of this process's fork server, and the channel to it."""


@functools.cache
def inherited() -> ForkServer | None:
    """Return the fork server of this process, if it was spawned with one. It lasts until `end_inherited`."""
    return ForkServer(_own[1]) if _own else None


def end_inherited() -> None:
    """End the fork server of this process, if it has one, and await it."""
    if _own:
        pid, channel = _own
        channel.shutdown(socket.SHUT_RDWR)
        os.waitpid(pid, 0)


class _Start(NamedTuple):
    number: int
    module: list[str]
    environment: dict[str, str]
    has_server: bool
    output: int


def _import_libraries() -> None:
    """Import what programs import at the top of their modules, except for their own modules."""
    files = [file for package in (*PROGRAMS, *LIBRARIES) for file in (ROOT / package).rglob("*.py")]
    imported = {name for file in files for name in re.findall(r"^(?:from|import) ([\w.]+)", file.read_text(), re.M)}
    for name in sorted(name for name in imported if name.partition(".")[0] not in PROGRAMS):
        importlib.import_module(name)
    stubs = importlib.import_module("repruv")
    for module in pkgutil.walk_packages(stubs.__path__, "repruv."):
        importlib.import_module(module.name)


def _serve(channel: socket.socket) -> _Start | None:
    """Fork for each request. Return the request in the new process, and None in the server at its end."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    children: dict[int, tuple[int, int]] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in children:
                poll.unregister(descriptor)
                os.close(descriptor)
                number, pid = children.pop(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                channel.send(json.dumps([number, "ended", code]).encode())
                continue
            message, outputs, *_ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
            if not message:
                return None
            start = _Start(*json.loads(message), *outputs)
            pid = os.fork()
            if pid == 0:
                return start
            os.close(start.output)
            descriptor = os.pidfd_open(pid)
            children[descriptor] = start.number, pid
            poll.register(descriptor, select.POLLIN)


def _become(start: _Start, channel: socket.socket, parent: int) -> None:
    """Run the module in this new process as `python -m` does."""
    os.setsid()
    die_with_parent.bind(parent, signal.SIGKILL)
    channel.send(json.dumps([start.number, "started", os.getpid()]).encode())
    channel.detach()
    os.dup2(start.output, 1)
    os.dup2(start.output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(start.environment)
    sys.argv[1:] = start.module[1:]
    # The name in `ps -o comm` and `top`, of which Linux keeps 15 bytes.
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(" ".join([start.module[0].removeprefix("services."), *start.module[1:]]))
    if start.has_server:
        _fork_own_server()
    runpy.run_module(start.module[0], run_name="__main__", alter_sys=True)


def _fork_own_server() -> None:
    """Fork a server for this process. It has the libraries already."""
    global _own
    process = os.getpid()
    parent_socket, child_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if pid := os.fork():
        child_socket.close()
        _own = pid, parent_socket
    else:
        parent_socket.close()
        die_with_parent.bind(process, signal.SIGKILL)
        _run(child_socket)
        sys.exit()


def _run(channel: socket.socket) -> None:
    """Serve; in each new process run its module."""
    server = os.getpid()
    if start := _serve(channel):
        _become(start, channel, server)


def main() -> None:
    """Serve until the parent closes the channel, whose descriptor is the argument."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import_libraries()
    gc.collect()
    gc.freeze()
    _run(channel)
