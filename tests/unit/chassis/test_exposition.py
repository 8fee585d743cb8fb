"""Probes and scrapes get their answers in time, and say what went wrong in the format of the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from chassis import exposition
from chassis import probe as probes


def values(text: str = "x") -> list[Metric]:
    return [GaugeMetricFamily("measured", text, value=1.0)]


@pytest.mark.parametrize("client", ["127.0.0.1", "[::1]"])
async def test_any_address_of_ipv6_serves_both_protocols(client: str) -> None:
    def probe() -> bool:
        return probes.is_ready(f"http://{client}:{port}/healthz")

    async with exposition.serving("[::]:0") as port:
        assert await asyncio.to_thread(probe)


def test_serving_ends_while_no_thread_of_the_loop_is_free() -> None:
    """Handlers that were given up may have left a thread each."""

    async def serve() -> None:
        executor, release = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(executor)
        left = executor.submit(release.wait)
        try:
            async with asyncio.timeout(60.0), exposition.serving("127.0.0.1:0"):
                pass
        finally:
            release.set()
            left.result()

    asyncio.run(serve())


async def test_measurements_of_a_scrape_run_at_once() -> None:
    both_run = asyncio.Barrier(2)

    async def measure() -> Iterable[Metric]:
        await both_run.wait()
        return values()

    measurements = (exposition.Measurement("one", measure), exposition.Measurement("two", measure))
    async with exposition.serving("127.0.0.1:0", exposition.registry(*measurements)) as port:

        def scrape() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60.0) as answer:
                return str(answer.read().decode())

        text = await asyncio.to_thread(scrape)
    assert 'measurement_success{measurement="one"} 1.0' in text
    assert 'measurement_success{measurement="two"} 1.0' in text


async def test_scraper_that_gives_up_leaves_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    is_measuring, is_gone = asyncio.Event(), asyncio.Event()

    async def measure() -> Iterable[Metric]:
        is_measuring.set()
        await is_gone.wait()
        return values("x" * 10_000_000)  # more than the sockets' buffers hold

    registry = exposition.registry(exposition.Measurement("slow", measure))
    async with exposition.serving("127.0.0.1:0", registry) as port, asyncio.timeout(60):
        scraper = socket.create_connection(("127.0.0.1", port))
        scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        await is_measuring.wait()
        # Without lingering: the connection is reset.
        scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        scraper.close()
        is_gone.set()
        while "a probe went away before its answer" not in caplog.text:
            await asyncio.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err
