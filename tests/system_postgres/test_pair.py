"""The scripts of a pair of containers: a standby copies, follows and is promoted; the former primary becomes its standby."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system_postgres.deployed import Certificates
from tests.system_postgres.pair import IS_STANDBY, SYNCHRONOUS, Pair

PRIMARY, STANDBY = 0, 1
"""At first."""


@pytest.fixture
def pair(certificate: Certificates) -> Iterator[Pair]:
    """Return the pair, not started."""
    new_pair = Pair(certificate)
    yield new_pair
    new_pair.erase()


@pytest.fixture
def replicating(pair: Pair) -> Pair:
    """Return the pair, started, with a synchronous standby and a row in the table `kept`."""
    pair.start(PRIMARY)
    pair.start(STANDBY)
    pair.servers[PRIMARY].await_answer(SYNCHRONOUS)
    with pair.servers[PRIMARY].connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    return pair


@pytest.fixture
def failed_over(replicating: Pair) -> Pair:
    """Return the pair after its primary was killed and its standby promoted."""
    replicating.servers[PRIMARY].kill()
    code, output = replicating.promote(STANDBY)
    assert code == 0, output
    return replicating


@pytest.mark.timeout(300)
def test_pair_of_containers_fails_over_and_back(pair: Pair) -> None:
    pair.start(STANDBY)  # the order of starts does not matter
    pair.start(PRIMARY)
    for former, promoted in ((0, 1), (1, 0)):
        pair.servers[former].await_answer(SYNCHRONOUS)
        with pair.servers[former].connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        code, output = pair.promote(promoted)
        assert code == 1
        assert b"still runs" in output, "two primaries would diverge"
        pair.servers[former].kill()
        code, output = pair.promote(promoted)
        assert code == 0, output
        with pair.servers[promoted].connect() as connection:
            connection.execute("INSERT INTO kept VALUES (2)")
        pair.start(former)
    pair.servers[0].await_answer(SYNCHRONOUS)
    for number in (0, 1):
        assert pair.servers[number].kept_rows() == [1, 1, 2, 2]


@pytest.fixture
def alone(replicating: Pair) -> Pair:
    """Return the pair after its standby was stopped, and commits were allowed without it."""
    replicating.servers[STANDBY].stop()
    with replicating.servers[PRIMARY].connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        connection.execute("SELECT pg_reload_conf()")
    return replicating


@pytest.mark.timeout(300)
def test_standby_that_lacks_log_copies_the_primary(alone: Pair) -> None:
    primary, standby = alone.servers
    with primary.connect() as connection:
        connection.execute("ALTER SYSTEM SET wal_keep_size = 0")
        connection.execute("SELECT pg_reload_conf()")
        for number in (2, 3):
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
    alone.start(STANDBY)
    primary.await_answer(SYNCHRONOUS)
    standby.await_answer("SELECT 1 FROM kept WHERE n = 3")


@pytest.mark.timeout(300)
def test_commits_do_not_wait_for_a_standby_that_does_not_stream_yet(alone: Pair) -> None:
    primary, standby = alone.servers
    standby.replace_program("postgres", "echo streams nothing >&2; exec sleep 300")
    alone.start(STANDBY)
    standby.await_log("streams nothing")
    primary.await_answer("SELECT 1 WHERE current_setting('synchronous_standby_names') = ''")
    standby.kill()
    standby.restore_programs()
    alone.start(STANDBY)
    primary.await_answer(SYNCHRONOUS)


@pytest.mark.timeout(300)
def test_standby_is_not_promoted_beside_a_primary_that_recovers(replicating: Pair) -> None:
    replicating.servers[PRIMARY].stop()
    replicating.servers[PRIMARY].recover_for_ever(replicating.variables(PRIMARY))
    code, output = replicating.promote(STANDBY)
    assert code == 1, output
    assert b"still runs" in output


@pytest.mark.timeout(300)
def test_primary_that_has_lost_its_data_copies_the_promoted_standby(failed_over: Pair) -> None:
    failed_over.servers[PRIMARY].lose_data()
    failed_over.start(PRIMARY)
    failed_over.servers[PRIMARY].await_answer(IS_STANDBY)
    assert failed_over.servers[PRIMARY].kept_rows() == [1]


@pytest.mark.timeout(300)
def test_primary_that_has_lost_its_data_waits_for_the_promotion_of_its_standby(replicating: Pair) -> None:
    replicating.servers[PRIMARY].kill()
    replicating.servers[PRIMARY].lose_data()
    replicating.start(PRIMARY)
    replicating.servers[PRIMARY].await_log("waiting for a copy")
    code, output = replicating.promote(STANDBY)
    assert code == 0, output
    replicating.servers[PRIMARY].await_answer(IS_STANDBY)
    assert replicating.servers[PRIMARY].kept_rows() == [1]


@pytest.mark.timeout(300)
def test_unfinished_copy_is_no_reason_for_a_new_cluster(failed_over: Pair) -> None:
    former, promoted = failed_over.servers
    former.replace_program("pg_rewind", "exit 1")
    former.replace_program("pg_basebackup", "exit 1")
    failed_over.start(PRIMARY)
    assert former.await_end() != 0, "the copy has failed"
    promoted.kill()
    former.restore_programs()
    failed_over.start(PRIMARY)  # as its container restarts, while its peer is down
    former.await_log("waiting for a copy")
    failed_over.start(STANDBY)
    former.await_answer(IS_STANDBY)
    assert failed_over.servers[PRIMARY].kept_rows() == [1]


@pytest.mark.timeout(300)
def test_data_are_not_replaced_by_those_of_another_cluster(failed_over: Pair) -> None:
    former, promoted = failed_over.servers
    promoted.kill()
    former.lose_data()
    failed_over.start(PRIMARY)  # nobody answers, as at the first start of a pair: a new cluster
    former.await_answer("SELECT 1 WHERE NOT pg_is_in_recovery()")
    failed_over.start(STANDBY)
    assert promoted.await_end() != 0
    assert "another cluster" in promoted.log
    former.kill()
    failed_over.start(STANDBY)
    promoted.await_answer("SELECT 1")
    assert failed_over.servers[STANDBY].kept_rows() == [1]
