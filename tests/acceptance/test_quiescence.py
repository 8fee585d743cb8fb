"""After all other tests the invariants of the databases hold. This file runs last in this directory."""

from __future__ import annotations

from tests.acceptance import invariants
from tests.acceptance.system import System


async def test_invariants_hold_when_nothing_happens_any_more(system: System) -> None:
    await invariants.wait_for_quiet(system)
    await invariants.must_hold(system, seconds=60.0)
