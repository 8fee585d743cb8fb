"""gRPC's event engine, whose idle threads look for work at intervals."""

from __future__ import annotations

import ctypes
import sys

import grpc

TIMER_SLACK_SECONDS = 0.25
"""How late a timer of these threads may be while the machine is idle: a deadline, a ping, a retry."""

_PR_SET_TIMERSLACK = 29


def start() -> grpc.Channel:
    """Start the threads, with a timer slack: a third of an idle system's processor time was spent on their wake-ups.

    After each closure a thread looks for work 14 times within the next second (gRPC's `WorkStealingThreadPool`). Linux
    delays timers by up to their thread's slack and lets threads inherit it. The threads run as long as the returned
    channel exists. It never connects.
    """
    _set_timer_slack(round(TIMER_SLACK_SECONDS * 1e9))
    try:
        return grpc.insecure_channel("ipv4:127.0.0.1:1")
    finally:
        _set_timer_slack(0)


def _set_timer_slack(nanoseconds: int) -> None:
    """Set the timer slack of this thread; 0 restores its default. Other systems than Linux have none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0)
