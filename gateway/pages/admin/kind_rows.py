"""Kinds of jobs with their numbers, as tables show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.views import engine


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """A kind: its jobs now, and those that ended in a time."""

    name: str
    kind: engine.Kind | None
    """None if it was deleted since its jobs ended."""
    rates: engine.KindRates | None
    """None if no job ended in the time."""

    @property
    def waiting(self) -> int:
        return self.count("pending", "retrying")

    @property
    def scheduled(self) -> int:
        return self.count("scheduled")

    @property
    def running(self) -> int:
        return self.count("running", "cancelling")

    @property
    def ended(self) -> int:
        return self.rates["completed"] + self.rates["failed"] + self.rates["cancelled"] if self.rates else 0

    @property
    def failed(self) -> int:
        return self.rates["failed"] if self.rates else 0

    @property
    def is_paused(self) -> bool:
        return self.kind is not None and self.kind["paused_at"] is not None

    @property
    def has_worker(self) -> bool:
        return self.kind is not None and self.kind["has_worker"]

    def count(self, *states: str) -> int:
        """Return the number of its jobs in these states."""
        return sum(self.kind["counts"].get(state, 0) for state in states) if self.kind else 0


def build(kinds: Iterable[engine.Kind], rates: engine.Rates) -> dict[str, KindRow]:
    """Return the rows of all kinds by name; that of `*`, all of them together, has no rates."""
    kind_of = {kind["kind"]: kind for kind in kinds}
    rates_of = {rate["kind"]: rate for rate in rates["kinds"]}
    return {
        name: KindRow(name=name, kind=kind_of.get(name), rates=rates_of.get(name))
        for name in sorted(kind_of.keys() | rates_of.keys())
    }
