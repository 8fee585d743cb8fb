"""Becomes another command that dies with its parent: `python -I -S die_with_parent.py PARENT SIGNAL UID:GID -- command…`.

A program of its own rather than a `preexec_fn`, because forking without exec is unsafe in a process that has threads.
Linux sends the signal when the *thread* that started us ends, hence the one long-lived spawner in `dev.subprocesses`.
Elsewhere the kernel has no such thing: there only an orderly launcher takes its children with it.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, death_signal: int, user: str, command: list[str]) -> None:
    """Switch to `user` ("uid:gid", or "-" for the current one), die with `parent`, then exec `command`.

    The first word is a path: after the switch `user` may not be able to read the interpreter's files.
    """
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    bind(parent, death_signal)  # after setuid, because setuid clears it
    os.execv(command[0], command)  # noqa: S606


def bind(parent: int, death_signal: int) -> None:
    """Get `death_signal` when the thread of `parent` that started this process ends."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # the parent died before the prctl
            sys.exit(1)


if __name__ == "__main__":
    _, parent, death_signal, user, _, *command = sys.argv
    become(int(parent), int(death_signal), user, command)
