"""`python -m bench.timing [samples [call]]`: whether answers for known, unknown and closed addresses take equally long.

Measures each unauthenticated call with the production cost of a hash: one at a time, in random order, each from its own
network. Two samples differ when a Mann-Whitney U test finds p < 0.01 and their medians are more than 5 % apart.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from dev import Stack

SAMPLES = 200
PASSWORD = "timing-anvil-rowing"  # noqa: S105 - of accounts that live as long as the benchmark
SIGNIFICANT = 0.01
CLOSE = 0.05
SETTINGS = {
    "REGISTRATION": "verified",
    "REGISTRATIONS_PER_ADDRESS": "1000000",
    "TRUSTED_PROXIES": "127.0.0.1",
    "RATE_LIMIT_NETWORK": "off",
    "RATE_LIMIT_SIGN_IN": "off",
}
_ACCOUNTS = """
    INSERT INTO auth.users (user_id, email, name, role, password_hash, disabled_at)
    SELECT gen_random_uuid(), %(kind)s || n || '@example.com', '', 'user',
        (SELECT password_hash FROM auth.users WHERE email = 'first@example.com'),
        CASE WHEN %(kind)s = 'closed' THEN now() END
    FROM generate_series(1, %(samples)s) AS n
"""
CALLS = {
    "login": ("/auth/login", {"password": "wrong-anvil-rowing"}, 401),
    "login, right password if there is an account": ("/auth/login", {"password": PASSWORD}, 401),
    "forgot password": ("/auth/password/forgot", {}, 202),
    "register": ("/auth/register", {"password": PASSWORD}, 202),
}
_BY_PASSWORD = "login, right password if there is an account"  # noqa: S105 - a name
Durations = Mapping[str, Sequence[float]]


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of a Mann-Whitney U test by normal approximation. Measured times have few ties."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, sample) in enumerate(ranked, 1) if sample == 0)
    n, m = len(first), len(second)
    u = rank_sum - n * (n + 1) / 2
    z = abs(u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(z / math.sqrt(2))


async def measure(url: str, samples: int, only: str) -> dict[str, Durations]:
    """Measure all calls, or those whose names begin with a prefix."""
    pooled: dict[str, Durations] = {}
    networks = count(1)
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=30.0) as http:

        async def duration(path: str, body: Mapping[str, str], expected: int) -> float:
            number = next(networks)
            origin = {"X-Forwarded-For": f"2001:db8:{number // 65_536:x}:{number % 65_536:x}::1"}
            began = time.perf_counter()
            answer = await http.post(path, json=body, headers=origin)
            took = time.perf_counter() - began
            assert answer.status_code == expected, answer.text
            return took

        for name, (path, body, expected) in CALLS.items():
            if not name.startswith(only):
                continue
            # The right password of an open account would sign in.
            kinds = ("closed", "unknown") if name == _BY_PASSWORD else ("known", "closed", "unknown")
            turns = [(kind, number) for kind in kinds for number in range(1, samples + 1)]
            random.shuffle(turns)
            durations: dict[str, list[float]] = {kind: [] for kind in kinds}
            for kind, number in turns:
                address = f"unknown{secrets.token_hex(6)}" if kind == "unknown" else f"{kind}{number}"
                took = await duration(path, {"email": f"{address}@example.com", **body}, expected)
                durations[kind].append(took)
            pooled[name] = durations
    return pooled


def show(measured: Mapping[str, Durations]) -> bool:
    """Print the table. Return whether all answers are indistinguishable."""
    table = Table("call", "address", "median ms", "against unknown", "p", title="Response times by address")
    is_even = True
    for name, durations in measured.items():
        unknown = durations["unknown"]
        for kind, sample in durations.items():
            median = statistics.median(sample)
            if kind == "unknown":
                table.add_row(name, kind, f"{median * 1000:.2f}", "", "")
                continue
            apart = median / statistics.median(unknown) - 1
            p = p_value(sample, unknown)
            is_even &= p >= SIGNIFICANT or abs(apart) <= CLOSE
            table.add_row(name, kind, f"{median * 1000:.2f}", f"{apart:+.1%}", f"{p:.3f}")
    Console(width=110).print(table)
    return is_even


async def prepare(stack: Stack, samples: int) -> None:
    """Create accounts, all with the password of the first."""
    async with httpx.AsyncClient(base_url=f"{stack.url}/api/v1", timeout=30.0) as http:
        first = {"email": "first@example.com", "password": PASSWORD}
        assert (await http.post("/auth/register", json=first)).status_code == 202
    async with await psycopg.AsyncConnection.connect(stack.database_url(), connect_timeout=5) as conn:
        for kind in ("known", "closed"):
            await conn.execute(_ACCOUNTS, {"kind": kind, "samples": samples})


def main(arguments: Sequence[str]) -> int:
    """Run the measurement. Return 1 if answers differ in time."""
    samples = int(arguments[0]) if arguments else SAMPLES
    only = arguments[1] if len(arguments) > 1 else ""
    with tempfile.TemporaryDirectory(prefix="repruv-timing-") as directory:
        stack = Stack(Path(directory), env=SETTINGS)
        try:
            stack.start()

            async def run() -> dict[str, Durations]:
                await prepare(stack, samples)
                return await measure(stack.url, samples, only)

            measured = asyncio.run(run())
        finally:
            stack.stop()
            if hasattr(stack, "servers"):
                stack.servers.erase()
    return 0 if show(measured) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
