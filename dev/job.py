"""`make job FILE=…`: runs the job kinds of a file against the local stack, and reloads the file when it changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from chassis import ids
from dev import subprocesses
from dev.launcher import targets
from dev.launcher.stack import ROOT

POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
"""Longer than the worker in the child process drains."""

Version = tuple[int, int, dict[str, str]]
"""Modification time and size of the file, and the addresses of the stack."""


def run(file: str, payload: str, data_dir: Path) -> int:
    """Run the kinds of `file` until a signal. Return the exit code.

    A `payload` (a JSON object) is submitted once as a job of the first kind: reloads repeat the submit with the same id.
    """
    path = Path(file).absolute()
    if mistake := _mistake(file, payload, data_dir):
        print(f"job: {mistake}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "dev.job_worker", str(path), str(data_dir.absolute())]
    _follow(command + ([str(ids.uuid7()), payload] if payload else []), path, data_dir)
    return 0


def _mistake(file: str, payload: str, data_dir: Path) -> str:
    """Return what prevents the start, or an empty string."""
    if not file:
        return "name the file: make job FILE=my_job.py"
    if not Path(file).is_file():
        return f"there is no file {file}"
    try:
        if payload and not isinstance(json.loads(payload), dict):
            return "ARGS must be a payload: a JSON object"
        targets.read(data_dir)
    except (ValueError, targets.NoRunningStack) as error:
        return f"ARGS is not JSON: {error}" if isinstance(error, ValueError) else str(error)
    return ""


def _follow(command: list[str], path: Path, data_dir: Path) -> None:
    """Run the command, again after each change, until a signal."""
    stop_requested = subprocesses.Flag()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop_requested.set())
    while not stop_requested.is_set():
        version = _version(path, data_dir)
        child = subprocesses.spawn(
            command, environment=os.environ, directory=ROOT, death_signal=signal.SIGTERM, output=sys.stdout.fileno()
        )
        try:
            _await_change(child, version, path, data_dir, stop_requested)
        finally:
            subprocesses.stop(child, request=signal.SIGTERM, grace=GRACE_SECONDS)


def _await_change(
    child: subprocess.Popen[bytes], version: Version | None, path: Path, data_dir: Path, stop: subprocesses.Flag
) -> None:
    is_running = True
    # An editor may replace the file: it is missing for a moment.
    while not stop.is_set() and _version(path, data_dir) in (None, version):
        if is_running and child.poll() is not None:
            is_running = False
            print(f"job: waiting for a change of {path.name}", flush=True)
        time.sleep(POLL_SECONDS)


def _version(path: Path, data_dir: Path) -> Version | None:
    """Return the version, None while the file is missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    try:
        addresses = targets.read(data_dir)
    except targets.NoRunningStack:
        addresses = {}
    return stat.st_mtime_ns, stat.st_size, addresses
