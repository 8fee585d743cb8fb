"""Ports for servers: processes that choose ports at the same time choose different ones."""

from __future__ import annotations

import itertools

from dev import subprocesses


def test_ports_of_a_process_are_not_those_of_another() -> None:
    first, other = (
        set(itertools.islice(subprocesses.reserve_ports(), 2 * subprocesses.PORTS_OF_PROCESS)) for _ in range(2)
    )
    assert len(first) == len(other) == subprocesses.PORTS_OF_PROCESS
    assert not first & other
    assert first | other <= set(subprocesses.PORTS)
