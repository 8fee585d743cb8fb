"""The threads of gRPC's event engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os

from chassis.rpc import event_engine

channel = event_engine.start()
for thread in os.listdir("/proc/self/task"):
    with open(f"/proc/self/task/{thread}/comm") as comm, open(f"/proc/{thread}/timerslack_ns") as slack:
        print("main" if int(thread) == os.getpid() else comm.read().strip(), int(slack.read()) / 1e9)
"""


def test_threads_of_grpc_have_a_timer_slack_and_the_event_loop_has_none() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    slacks = [line.rsplit(maxsplit=1) for line in output.splitlines()]
    engine = {float(slack) for name, slack in slacks if name != "main"}
    (main,) = (float(slack) for name, slack in slacks if name == "main")
    assert engine == {0.25}
    assert main < 0.001
