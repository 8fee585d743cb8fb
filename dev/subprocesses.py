"""Child processes that never outlive this one: spawning, stopping, and free ports."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
# Below the kernel's range for outgoing connections: no client can occupy the port of a server
# that is down, or connect to itself there.
PORTS = range(20_000, 32_000)
PORTS_OF_PROCESS = 200
KILL_WAIT_SECONDS = 10.0

# This thread starts every child: the kernel ties the life of a child to the thread that started it, and this
# thread ends only with the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class Flag:
    """A flag that any thread may read. Unlike `threading.Event` it is safe to set in a signal handler."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set


class Process(Protocol):
    """A child process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, number: int, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The account of a child process that does not run as ours."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    directory: Path,
    death_signal: signal.Signals,
    output: IO[bytes] | int,
    user: User | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, so that Ctrl-C reaches only this process. It gets `death_signal` when we die.

    Raises `OSError` when the program does not exist or cannot run.
    """
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise FileNotFoundError(f"there is no program {command[0]}")
    wrapped = [*dying_with_parent(death_signal, user), program, *command[1:]]
    started = _spawner.submit(
        lambda: subprocess.Popen(
            wrapped,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(keep_open),
        )
    )
    return started.result()


def dying_with_parent(death_signal: signal.Signals, user: User | None = None) -> list[str | Path]:
    """Return the beginning of a command that gets `death_signal` when the thread that starts it ends; a path must follow."""
    account = f"{user.uid}:{user.gid}" if user else "-"
    words = [str(os.getpid()), str(int(death_signal)), account, "--"]
    return [sys.executable, "-I", "-S", DIE_WITH_PARENT, *words]


def stop(
    process: Process,
    *,
    request: signal.Signals,
    grace: float,
    skip_grace: Flag | None = None,
) -> None:
    """Send `request`, wait `grace` seconds (none once `skip_grace` is set), then kill the process group."""
    process.send_signal(request)
    waited = 0.0
    while process.poll() is None and waited < grace and not (skip_grace and skip_grace.is_set()):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        waited += 0.1
    kill(process)


def kill(process: Process) -> None:
    """Kill `process` and the rest of its group, and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone; macOS says EPERM for zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(KILL_WAIT_SECONDS)


def free_port(taken: set[int] | frozenset[int] = frozenset()) -> int:
    """Return a TCP port of 127.0.0.1 that is free now and not in `taken`. No other process of this user gets it."""
    for _ in range(PORTS_OF_PROCESS):
        port = next(_ports)
        if port not in taken and is_port_free(port):
            return port
    raise OSError(f"no free port of 127.0.0.1 found between {PORTS.start} and {PORTS.stop}")


def reserve_ports() -> Iterator[int]:
    """Yield the ports of a block that no other process of this user reserves, in a cycle.

    The lock of the block is released when this process ends.
    """
    folder = Path(tempfile.gettempdir()) / f"repruv-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    starts = list(PORTS[::PORTS_OF_PROCESS])
    secrets.SystemRandom().shuffle(starts)
    for start in starts:
        descriptor = os.open(folder / str(start), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            break
    else:
        raise OSError(f"all ports of 127.0.0.1 between {PORTS.start} and {PORTS.stop} are reserved")
    while True:
        yield from range(start, start + PORTS_OF_PROCESS)


def is_port_free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ports = reserve_ports()
