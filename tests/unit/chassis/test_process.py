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

_LEAVES_A_THREAD = """
import asyncio, threading
from chassis import process

async def serve(stop):
    begun = threading.Event()

    def last():
        begun.set()
        threading.Event().wait()

    left = asyncio.create_task(asyncio.to_thread(last))
    await asyncio.to_thread(begun.wait)
    left.cancel()
    print("served")

process.until_signal(serve)
"""


def run(program: str) -> str:
    """Run a program; return its output."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return ended.stdout


def test_signal_of_a_forked_child_stops_the_child_only() -> None:
    assert run(_ENDS_A_CHILD).split() == ["-15", "False"]


def test_thread_that_a_handler_has_left_does_not_delay_the_end_of_the_process() -> None:
    """Otherwise the watchdog ends it, with another code."""
    assert run(_LEAVES_A_THREAD) == "served\n"
