"""`python -m bench.tracing [enables [rounds]]`: processor time of an enable with and without traces, in one run.

Two systems run beside each other: one records nothing, one records everything and exports it to a backend in another process,
which is not counted. Rounds of enables alternate between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import cpu, load
from bench.system import DEMO_OPTIONS, System, running
from dev import subprocesses

RATE = 20.0
SETTLE_SECONDS = 2.0
"""Spans are sent once a second."""


class _Backend(BaseHTTPRequestHandler):
    """Accepts spans and drops them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - named by http.server
        """Log nothing."""


def _serve(port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), _Backend).serve_forever()


@contextlib.contextmanager
def backend() -> Iterator[str]:
    """Run a trace backend; yield its endpoint."""
    port = subprocesses.free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()


async def cost(system: System, enables: int) -> float:
    """Return the processor time of an enable with its job in milliseconds, of all processes of the system."""
    users = await system.sign_up(enables)
    await system.quiet()
    before = _seconds(system)

    async def enable(index: int) -> None:
        await system.enable(users[index], DEMO_OPTIONS)

    offered = await load.offer(enable, rate=RATE, count=enables)
    if offered.failures:
        raise offered.failures[0]
    await system.quiet()
    await asyncio.sleep(SETTLE_SECONDS)
    return (_seconds(system) - before) * 1000 / enables


def _seconds(system: System) -> float:
    return sum(cpu.seconds(system.stack).values())


async def measure(systems: dict[str, System], enables: int, rounds: int) -> None:
    """Print the cost of each round, and of all."""
    for system in systems.values():
        await cost(system, enables)  # warms caches up
    costs: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds):
        for name, system in systems.items():
            costs[name].append(await cost(system, enables))
        taken = ", ".join(f"{name} {each[-1]:.1f} ms" for name, each in costs.items())
        print(f"round {number + 1}: {taken}", flush=True)
    for name, each in costs.items():
        print(f"{name}: median {statistics.median(each):.1f}, least {min(each):.1f} ms of processor time an enable")
    off, on = costs.values()
    ratios = [b / a for a, b in zip(off, on, strict=True)]
    print(f"on / off: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def main(arguments: list[str]) -> None:
    enables, rounds = (int(number) for number in (*arguments, *("100", "6")[len(arguments) :]))
    with backend() as endpoint, running() as off, running(env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as on:
        asyncio.run(measure({"off": System(off), "on": System(on)}, enables, rounds))


if __name__ == "__main__":
    main(sys.argv[1:])
