"""The sizing: what is needed grows with the load, and the first limit is the one that the load reaches first."""

from __future__ import annotations

import dataclasses

import pytest

from bench.sizing import __main__ as sizing
from bench.sizing import model

LOAD = model.Load(users=1_000_000, jobs_per_second=1_000, streams=100_000)
SERVER = model.Server()


def test_a_larger_load_never_needs_less() -> None:
    for name in ("jobs_per_second", "streams", "enables_per_second", "handler_ms"):
        larger = dataclasses.replace(LOAD, **{name: getattr(LOAD, name) * 10 + 10})
        for process, need in model.needs(LOAD, SERVER).items():
            grown = model.needs(larger, SERVER)[process]
            assert (grown.processors, grown.processes, grown.memory) >= (need.processors, need.processes, need.memory)
        assert model.wal(larger) >= model.wal(LOAD)


def test_work_of_handlers_needs_workers_and_nothing_else() -> None:
    heavy = model.needs(dataclasses.replace(LOAD, handler_ms=70.0), SERVER)
    light = model.needs(LOAD, SERVER)
    assert heavy["worker"].processes == pytest.approx(100, abs=1)
    assert {name: need for name, need in heavy.items() if name != "worker"} == {
        name: need for name, need in light.items() if name != "worker"
    }


def test_the_first_limit_depends_on_the_load() -> None:
    kept_for_a_year = dataclasses.replace(LOAD, retention_days=365.0)
    kept_for_hours = dataclasses.replace(LOAD, jobs_per_second=10_000, retention_days=0.1)
    assert "disk" in model.limits(kept_for_a_year, SERVER)[0].name
    assert "cleanup" in model.limits(kept_for_hours, SERVER)[0].name
    assert model.shards(kept_for_a_year, SERVER) > model.shards(LOAD, SERVER) == 1


def test_wrong_numbers_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sizing.main(["--users", "0", "--jobs-per-second", "1", "--streams", "-1"])
    assert "users, streams: must be above 0" in capsys.readouterr().err
