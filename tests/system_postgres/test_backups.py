"""The scripts `archive`, `backup` and `restore`: every backup can be restored, whatever happened to the cluster before it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.system_postgres.deployed import Certificates, Server
from tests.system_postgres.pair import IS_STANDBY, SYNCHRONOUS, Pair

IS_PRIMARY = "SELECT 1 WHERE NOT pg_is_in_recovery()"


@pytest.fixture
def pair(certificate: Certificates) -> Iterator[Pair]:
    """Return a pair whose first server runs alone, with an archive and the table `kept`."""
    new_pair = Pair(certificate)
    server = new_pair.servers[0]
    new_pair.start(0)
    server.await_answer("SELECT 1")
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        connection.execute(f"ALTER SYSTEM SET archive_command = 'sh {server.home}/archive %p %f'")
    server.stop()
    new_pair.start(0)
    server.await_answer("SELECT 1")
    yield new_pair
    new_pair.erase()


@pytest.fixture
def server(pair: Pair) -> Server:
    """Return the first server."""
    return pair.servers[0]


def insert(server: Server, number: int) -> datetime:
    """Insert a row; return a time after its commit and before any later one."""
    with server.connect() as connection:
        connection.execute("INSERT INTO kept VALUES (%s)", [number])
        moment = _value(connection, "SELECT clock_timestamp()")
        assert isinstance(moment, datetime)
        return moment


def back_up(server: Server) -> None:
    """Make a backup. Return after the second in which it ended: it can be restored to any later point."""
    done = server.run("backup")
    assert done.returncode == 0, done.stderr
    name = done.stdout.decode().split()[-1]
    while datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") <= name:
        time.sleep(0.05)


def lose_and_restore(pair: Pair, *point: datetime) -> None:
    """Archive the whole log, delete the data of the first server, and restore it."""
    server = pair.servers[0]
    with server.connect() as connection:
        name = _value(connection, "SELECT pg_walfile_name(pg_switch_wal())")
    server.await_answer(f"SELECT 1 FROM pg_stat_archiver WHERE last_archived_wal >= '{name}'")
    server.stop()
    server.lose_data()
    done = server.run("restore", *(moment.isoformat() for moment in point))
    assert done.returncode == 0, done.stderr
    pair.start(0)
    server.await_answer(IS_PRIMARY)


def _value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]


@pytest.mark.timeout(300)
def test_backup_of_a_cluster_that_was_restored_is_restored_to_its_end(pair: Pair, server: Server) -> None:
    back_up(server)
    point = insert(server, 1)
    insert(server, 2)
    lose_and_restore(pair, point)
    assert server.kept_rows() == [1]
    back_up(server)
    insert(server, 3)
    lose_and_restore(pair)
    assert server.kept_rows() == [1, 3]


@pytest.mark.timeout(300)
def test_standby_of_a_cluster_that_was_restored_follows_it(pair: Pair, server: Server) -> None:
    back_up(server)
    point = insert(server, 1)
    insert(server, 2)
    lose_and_restore(pair, point)
    pair.start(1)
    server.await_answer(SYNCHRONOUS)
    insert(server, 3)
    pair.servers[1].await_answer("SELECT 1 FROM kept WHERE n = 3")
    pair.servers[1].await_answer(IS_STANDBY)
    server.await_answer(SYNCHRONOUS)


@pytest.mark.timeout(300)
def test_point_during_a_backup_is_restored_from_the_backup_before(pair: Pair, server: Server) -> None:
    back_up(server)
    later = "psql --no-psqlrc --dbname=postgres --command='INSERT INTO kept VALUES (2)'"
    server.replace_program("pg_basebackup", f'sleep 2; {later}; exec "$PROGRAM" "$@"')
    began = insert(server, 1)
    back_up(server)
    server.restore_programs()
    lose_and_restore(pair, began + timedelta(seconds=1.5))
    assert server.kept_rows() == [1]


@pytest.mark.timeout(300)
def test_restored_cluster_does_not_become_the_standby_of_the_damaged_one(pair: Pair, server: Server) -> None:
    back_up(server)
    point = insert(server, 1)
    pair.start(1)
    server.await_answer(SYNCHRONOUS)
    insert(server, 2)
    server.stop()
    code, output = pair.promote(1)
    assert code == 0, output
    server.lose_data()
    assert server.run("restore", point.isoformat()).returncode == 0
    pair.start(0)
    assert server.await_end() != 0
    assert "stop it and delete its data" in server.log
    pair.servers[1].kill()
    pair.start(0)
    server.await_answer(IS_PRIMARY)
    assert server.kept_rows() == [1]


@pytest.mark.timeout(300)
def test_backup_without_an_archive_is_refused(server: Server) -> None:
    back_up(server)
    with server.connect() as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = 'off'")
    server.stop()
    server.start()
    server.await_answer("SELECT 1")
    done = server.run("backup")
    assert done.returncode == 1
    assert b"archive_mode is off" in done.stderr
    assert len(list((server.home / "backups" / "base").iterdir())) == 1, "the backup that can be restored stays"


@pytest.mark.timeout(300)
def test_backup_at_a_standby_is_refused(pair: Pair, server: Server) -> None:
    back_up(server)
    pair.start(1)
    server.await_answer(SYNCHRONOUS)
    standby = pair.servers[1]
    done = standby.run("backup")
    assert done.returncode == 1
    assert b"make the backup at the primary" in done.stderr
    assert not (standby.home / "backups" / "base").exists()
    # The standby knows the last backup too, for the metrics after a failover.
    [name] = [path.name for path in (server.home / "backups" / "base").iterdir()]
    standby.await_answer(f"SELECT 1 FROM pg_db_role_setting WHERE setconfig = ARRAY['repruv.last_backup={name}']")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("keep", ["0", "two", "-1"])
def test_wrong_number_of_backups_to_keep_deletes_none(server: Server, keep: str) -> None:
    back_up(server)
    done = server.run("backup", variables={"KEEP_BACKUPS": keep})
    assert done.returncode == 1
    assert b"KEEP_BACKUPS" in done.stderr
    assert len(list((server.home / "backups" / "base").iterdir())) == 1


@pytest.mark.timeout(300)
def test_backup_that_fails_leaves_room_for_the_archive(server: Server) -> None:
    server.replace_program("pg_basebackup", '"$PROGRAM" "$@"; exit 1')
    assert server.run("backup").returncode == 1
    assert list((server.home / "backups" / "base").iterdir()) == []


@pytest.mark.timeout(300)
def test_backup_that_was_killed_leaves_nothing_behind(server: Server) -> None:
    server.replace_program("pg_basebackup", '"$PROGRAM" "$@"; kill -KILL $PPID')
    assert server.run("backup").returncode != 0
    server.restore_programs()
    back_up(server)
    names = [path.name for path in (server.home / "backups" / "base").iterdir()]
    assert len(names) == 1
    assert names[0] <= datetime.now(UTC).isoformat()
