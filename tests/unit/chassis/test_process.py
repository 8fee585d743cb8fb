"""The life of a process."""

from __future__ import annotations

import subprocess
import sys

_ENDS_A_CHILD = """
import asyncio, multiprocessing, time
from chassis import process

def end_a_child():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    child.start()
    child.terminate()
    child.join(60)
    code = child.exitcode
    child.kill()
    return code

async def serve(stop):
    code = await asyncio.to_thread(end_a_child)
    print(code, stop.is_set())

process.until_signal(serve)
"""


def test_signal_of_a_forked_child_stops_the_child_only() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _ENDS_A_CHILD], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.split() == ["-15", "False"]
