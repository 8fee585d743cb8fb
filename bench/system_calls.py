"""`python -m bench.system_calls`: system calls of an enable by process, counted by strace."""

from __future__ import annotations

import asyncio
import collections
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench import cpu, load, system
from dev import Stack

RATE = 10.0
COUNT = 100
WARM_UP = 40
ATTACH_SECONDS = 2.0
SHOWN_CALLS = 8


class Counter:
    """strace, attached to all processes of a service."""

    def __init__(self, name: str, pids: Iterable[int], directory: Path) -> None:
        self._summary = directory / name
        attach = [argument for pid in pids for argument in ("-p", str(pid))]
        command = ["strace", "-f", "-c", "-o", str(self._summary), *attach]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def stop(self) -> collections.Counter[str]:
        """Return the number of calls by name."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)
        rows = [line.split() for line in self._summary.read_text().splitlines()]
        # Share, seconds, microseconds a call, calls, maybe errors, name.
        counted = [row for row in rows if len(row) >= 5 and row[0][0].isdigit() and row[-1] != "total"]
        return collections.Counter({row[-1]: int(row[3]) for row in counted})


async def measure(stack: Stack, directory: Path) -> None:
    """Count the calls while users enable demo mode, and print them."""
    bench = system.System(stack)
    users = iter(await bench.sign_up(WARM_UP + COUNT))

    async def enable(_: int) -> None:
        await bench.enable(next(users), system.DEMO_OPTIONS)

    await load.offer(enable, rate=2 * RATE, count=WARM_UP)
    await bench.quiet()
    pids = {name: [pid for pid in stack.pids(name) if pid] for name in stack.names}
    pids |= {"postgres": cpu.tree(stack.servers.postgres.pid), "nats": cpu.tree(stack.servers.nats.pid)}
    counters = {name: Counter(name, of_service, directory) for name, of_service in pids.items()}
    await asyncio.sleep(ATTACH_SECONDS)
    await load.offer(enable, rate=RATE, count=COUNT)
    await bench.quiet()
    calls = {name: counter.stop() for name, counter in counters.items()}
    print(f"system calls per enable at {RATE:.0f}/s: {sum(map(collections.Counter.total, calls.values())) / COUNT:.0f}")
    for name, counts in calls.items():
        most = ", ".join(f"{call} {count / COUNT:.1f}" for call, count in counts.most_common(SHOWN_CALLS))
        print(f"  {name:12} {counts.total() / COUNT:4.0f}: {most}")


def main() -> None:
    if shutil.which("strace") is None:
        sys.exit("install strace first (Debian: apt-get install strace)")
    with ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="repruv-bench-")))
        asyncio.run(measure(resources.enter_context(system.running()), directory))


if __name__ == "__main__":
    main()
