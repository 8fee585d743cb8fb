"""A function with which the jobs service reads the state of the database server.

A role sees the sessions of other roles only as a member of `pg_monitor`, which would also show it their statements. The function
runs as the role that provisions, and returns numbers only. On a managed database that role needs `pg_monitor`.
"""

from __future__ import annotations

import psycopg

READER = "jobs"

_FUNCTION = """
CREATE OR REPLACE FUNCTION jobs.server_statistics() RETURNS json LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
SELECT json_build_object(
    'oldest_transaction_seconds', (
        SELECT extract(epoch FROM now() - min(xact_start)) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    'oldest_xmin_age', greatest(
        (SELECT max(age(backend_xmin)) FROM pg_stat_activity),
        (SELECT max(greatest(age(xmin), age(catalog_xmin))) FROM pg_replication_slots),
        (SELECT max(age(transaction)) FROM pg_prepared_xacts)),
    'frozen_xid_age', (SELECT max(age(datfrozenxid)) FROM pg_database),
    'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    'max_connections', CAST(current_setting('max_connections') AS integer),
    'standbys', (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'),
    'replication_lag_seconds', (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication),
    'slot_retained_bytes', (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots),
    'archiving_fails', (
        SELECT CAST(coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS integer)
        FROM pg_stat_archiver),
    'archived_seconds_ago', (
        SELECT extract(epoch FROM now() - greatest(last_archived_time, pg_postmaster_start_time())) FROM pg_stat_archiver),
    'backup_seconds_ago', (
        SELECT extract(epoch FROM now() - CAST(substr(setting, length('repruv.last_backup=') + 1) AS timestamptz))
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setrole = 0
        AND starts_with(setting, 'repruv.last_backup=')))
$$
"""
_PERMISSIONS = (
    "REVOKE ALL ON FUNCTION jobs.server_statistics() FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION jobs.server_statistics() TO jobs",
)


def provision(connection: psycopg.Connection) -> None:
    """Create or replace the function."""
    for statement in (_FUNCTION, *_PERMISSIONS):
        connection.execute(statement)
