"""States in five places: the enum, the transition table, the CHECK of the database, the proto, the picture in the README."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from lifecycle import file_states
from repruv.auth.v1 import connection_pb2, data_export_service_pb2
from repruv.demo.v1 import demo_pb2, exports_service_pb2
from repruv.jobs.v1 import job_pb2
from services.auth.connections import domain as connections
from services.demo import domain as demo
from services.jobs import domain as jobs

ROOT = Path(__file__).parents[2]

MACHINES: Mapping[str, tuple[type[StrEnum], Mapping[Any, tuple[frozenset[Any], Any]], Any, str, str]] = {
    "auth/connections": (
        connections.State,
        connections.TRANSITIONS,
        connection_pb2.ConnectionState,
        "CONNECTION_STATE_",
        "auth.connections",
    ),
    "auth/data_export": (
        file_states.State,
        file_states.TRANSITIONS,
        data_export_service_pb2.DataExportState,
        "DATA_EXPORT_STATE_",
        "auth.data_exports",
    ),
    "jobs": (jobs.State, jobs.TRANSITIONS, job_pb2.JobState, "JOB_STATE_", "jobs.jobs"),
    "demo": (demo.State, demo.TRANSITIONS, demo_pb2.DemoState, "DEMO_STATE_", "demo.demo_modes"),
    "demo/exports": (
        file_states.State,
        file_states.TRANSITIONS,
        exports_service_pb2.ExportState,
        "EXPORT_STATE_",
        "demo.exports",
    ),
}


@pytest.mark.parametrize("service", MACHINES)
def test_the_proto_has_the_states_of_the_domain(service: str) -> None:
    states, _, enum, prefix, _ = MACHINES[service]
    named = {name.removeprefix(prefix).lower() for name in enum.keys()}  # noqa: SIM118 - not a dict
    assert named - {"unspecified"} == {state.value for state in states}


@pytest.mark.parametrize("service", MACHINES)
async def test_the_database_knows_the_states_of_the_domain(
    service: str, database: Callable[[str], AsyncEngine]
) -> None:
    states, _, _, _, table = MACHINES[service]
    definition = await _constraint(database, table, "state_known")
    assert set(re.findall(r"'(\w+)'", definition)) == {state.value for state in states}


@pytest.mark.parametrize("service", MACHINES)
def test_the_picture_shows_the_transitions_of_the_table(service: str) -> None:
    _, transitions, _, _, _ = MACHINES[service]
    readme = (ROOT / "services" / service / "README.md").read_text()
    drawn = set(re.findall(r"^\s*(\w+) --> (\w+):", readme, re.MULTILINE))
    allowed = {(str(source), str(target)) for sources, target in transitions.values() for source in sources}
    assert drawn == allowed


@pytest.mark.parametrize("service", MACHINES)
def test_every_state_is_reachable_and_documents_who_moves_it_out(service: str) -> None:
    states, transitions, _, _, _ = MACHINES[service]
    source = Path(inspect.getfile(states)).read_text()
    for state in states:
        assert re.search(rf'    {state.name} = "{state.value}"\n    """\S', source), state
    reached = {target for _, target in transitions.values()}
    first: set[Any] = {jobs.State.SCHEDULED, jobs.State.PENDING, demo.State.DISABLED} & set(states)
    assert reached | first == set(states)


@pytest.mark.parametrize("service", MACHINES.keys() - {"jobs"})
async def test_the_database_knows_the_transitions_of_lifecycles(
    service: str, database: Callable[[str], AsyncEngine]
) -> None:
    _, transitions, _, _, table = MACHINES[service]
    allowed = {(str(source), str(target)) for sources, target in transitions.values() for source in sources}
    definition = await _constraint(database, table, "transition_known")
    assert set(re.findall(r"'(\w+)>(\w+)'", definition)) == allowed


async def test_the_database_knows_the_errors_of_connections(database: Callable[[str], AsyncEngine]) -> None:
    definition = await _constraint(database, "auth.connections", "error_known")
    assert set(re.findall(r"'(\w+)'", definition)) == {code.value for code in connections.ErrorCode}


async def _constraint(database: Callable[[str], AsyncEngine], table: str, suffix: str) -> str:
    query = sa.text(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = CAST(:table AS regclass) AND conname LIKE '%' || :suffix"
    )
    async with database(table.split(".")[0]).connect() as conn:
        return str((await conn.execute(query, {"table": table, "suffix": suffix})).scalar_one())
