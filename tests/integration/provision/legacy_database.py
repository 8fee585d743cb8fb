"""A generated database of the old system, with the dirt of years in it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from dev.embedded import EmbeddedServers
from provision.legacy import run

BCRYPT = "$2b$04$KdQvpyLWwn5TjMjWFRNGCOzXtTUlPXGRQf3qeCjpLOMmhLxuxr8uC"
"""A hash of the right form."""

TABLES = """
CREATE TABLE users (
    id serial PRIMARY KEY, email varchar, password_hash varchar, full_name text, demo_mode boolean,
    demo_mode_status varchar(20), is_active boolean DEFAULT true, is_admin boolean DEFAULT false,
    created_at timestamp, favourite_colour text
);
CREATE TABLE platform_connections (
    id serial PRIMARY KEY, user_id integer, platform varchar, connection_status varchar, access_token text
);
CREATE TABLE background_jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id integer, job_type varchar, status varchar,
    created_at timestamptz DEFAULT now() - interval '3 days', started_at timestamptz, completed_at timestamptz,
    error_message text, result jsonb
);
CREATE TABLE user_sessions (id serial PRIMARY KEY, user_id integer, token text);
CREATE TABLE invoices (id serial PRIMARY KEY, amount numeric);
"""

CLEAN = """
INSERT INTO users (email, password_hash, full_name, demo_mode, demo_mode_status, created_at)
SELECT 'user' || n || '@' || %(domain)s, %(hash)s, 'User ' || n, n %% 4 = 0,
    CASE WHEN n %% 8 = 0 THEN 'enabled' WHEN n %% 8 = 4 THEN NULL ELSE 'disabled' END,
    timestamp '2023-01-01' + n * interval '1 minute'
FROM generate_series(1, %(users)s) n;
INSERT INTO platform_connections (user_id, platform, connection_status, access_token)
SELECT n, 'google', CASE n %% 3 WHEN 0 THEN 'connected' WHEN 1 THEN 'disconnected' ELSE 'connecting' END, 'secret'
FROM generate_series(1, %(users)s, 2) n;
INSERT INTO background_jobs (user_id, job_type, status, started_at, completed_at, error_message)
SELECT n, 'enable_demo', CASE n %% 5 WHEN 0 THEN 'failed' WHEN 1 THEN 'running' WHEN 2 THEN 'cancelled' ELSE 'completed' END,
    now() - interval '2 days', now() - interval '1 day', CASE n %% 5 WHEN 0 THEN 'it broke' END
FROM generate_series(1, %(users)s) n;
INSERT INTO user_sessions (user_id, token) SELECT n, md5(n::text) FROM generate_series(1, 50) n;
"""

DIRT = """
INSERT INTO users (id, email, password_hash, full_name, demo_mode, demo_mode_status, is_active, is_admin, created_at) VALUES
    (1000001, 'USER1@' || upper(%(domain)s), %(hash)s, 'Duplicate by case', false, NULL, true, false, '2024-01-01'),
    (1000002, NULL, %(hash)s, 'No address', false, NULL, true, false, '2024-01-01'),
    (1000003, 'not an address', %(hash)s, 'Bad address', true, NULL, true, false, '2024-01-01'),
    (1000004, repeat('x', 300) || '@' || %(domain)s, %(hash)s, 'Long address', false, NULL, true, false, '2024-01-01'),
    (1000005, 'broken-hash@' || %(domain)s, '$2b$12$short', 'Broken hash', false, NULL, true, false, '2024-01-01'),
    (1000006, 'no-hash@' || %(domain)s, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1000007, 'future@' || %(domain)s, %(hash)s, repeat('n', 5000), false, NULL, true, false, '2199-01-01'),
    (1000008, 'infinity@' || %(domain)s, %(hash)s, E'Bell\\x07 and \\u202Ebidi', false, NULL, true, false, 'infinity'),
    (1000009, 'stuck@' || %(domain)s, %(hash)s, 'Stuck', false, 'enabling', true, false, '2024-01-01'),
    (1000010, 'failed@' || %(domain)s, %(hash)s, 'Failed', true, 'failed', true, false, '2024-01-01'),
    (1000011, 'contradiction@' || %(domain)s, %(hash)s, 'Both', true, 'disabled', true, false, '2024-01-01'),
    (1000012, 'unknown@' || %(domain)s, %(hash)s, 'Unknown', true, 'frobnicating', true, false, '2024-01-01'),
    (1000013, 'admin@' || %(domain)s, %(hash)s, 'Admin', false, NULL, true, true, '2024-01-01'),
    (1000014, 'inactive@' || %(domain)s, %(hash)s, 'Inactive', false, NULL, false, false, '2024-01-01');
INSERT INTO platform_connections (id, user_id, platform, connection_status) VALUES
    (1000001, 7777777, 'google', 'connected'),
    (1000002, 1000003, 'google', 'connected'),
    (1000003, 1000009, 'Instagram', 'connected'),
    (1000004, 1000009, 'instagram', 'failed'),
    (1000005, 1000009, 'my space', 'connected'),
    (1000006, 1000010, 'google', 'quantum'),
    (1000007, NULL, NULL, NULL);
INSERT INTO background_jobs (user_id, job_type, status, created_at, started_at, completed_at) VALUES
    (7777777, 'orphan', 'completed', now(), now(), now()),
    (1000009, NULL, 'pending', now() - interval '1 hour', NULL, NULL),
    (1000009, 'Weird Type!', 'completed', now() - interval '1 hour', now() - interval '3 days', '2199-01-01'),
    (1000009, 'old', 'completed', '2015-01-01', '2015-01-01', '2015-01-01'),
    (1000009, 'future', 'completed', '2199-01-01', NULL, NULL),
    (1000009, 'infinite', 'completed', '-infinity', NULL, NULL),
    (1000009, 'unknown', 'quantum', now(), NULL, NULL);
"""


def generate(url: str, *, users: int, domain: str, password_hash: str = BCRYPT) -> None:
    """Create the tables of the old system, and fill them; addresses are of `domain`."""
    parameters = {"users": users, "domain": domain, "hash": password_hash}
    # Statements with parameters, several in one text: the client has to put them in.
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(TABLES)
        connection.execute(CLEAN, parameters)
        connection.execute(DIRT, parameters)


USERS = 40
BATCH = 7
_numbers = itertools.count()

TARGETS = {
    "auth.users": "user_id",
    "auth.connections": "user_id, platform",
    "demo.demo_modes": "owner_id",
    "jobs.jobs": "job_id",
    "legacy_import.rows": "source, legacy_id",
}


class Old:
    """An old database, and what became of it."""

    def __init__(self, servers: EmbeddedServers, url: str, domain: str) -> None:
        self.url = url
        self.domain = domain
        self._target = servers.postgres.url

    def run(self, *, dry_run: bool = False, batch: int = BATCH) -> dict[str, Any]:
        return run.run(self.url, self._target, dry_run=dry_run, batch=batch)

    def sql(self, statement: str, *parameters: object) -> list[Any]:
        with psycopg.connect(self._target) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def all_rows(self) -> dict[str, list[Any]]:
        """Return all rows of all tables that the import writes, with the transactions that wrote them."""
        return {
            table: self.sql(f"SELECT xmin::text, t.* FROM {table} t ORDER BY {key}") for table, key in TARGETS.items()
        }

    @contextlib.contextmanager
    def reader(self) -> Iterator[str]:
        """Yield the URL of a role that may only read the old database."""
        parts = urlsplit(self.url)
        role = f"reader_of_{parts.path[1:]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reads'")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
            try:
                yield urlunsplit(parts._replace(netloc=f"{role}:reads@{parts.netloc.rpartition('@')[2]}"))
            finally:
                connection.execute(f"DROP OWNED BY {role}")
                connection.execute(f"DROP ROLE {role}")

    def rows(self) -> dict[str, list[Any]]:
        """Return all rows of the old database, with the transactions that wrote them."""
        with psycopg.connect(self.url) as connection:
            tables = connection.execute("SELECT relid::regclass::text FROM pg_stat_user_tables ORDER BY 1").fetchall()
            return {
                table: connection.execute(f"SELECT t.xmin::text, t::text FROM {table} t ORDER BY 2").fetchall()
                for (table,) in tables
            }

    def user(self, name: str) -> Any:
        [row] = self.sql(
            "SELECT name, password_hash, role, created_at, email_verified_at, disabled_at, user_id FROM auth.users"
            " WHERE email = %s",
            f"{name}@{self.domain}",
        )
        return row

    def notes(self, table: str, legacy_id: object) -> tuple[bool, list[str]]:
        [(target_id, notes)] = self.sql(
            "SELECT target_id, notes FROM legacy_import.rows WHERE source = %s AND legacy_id = %s",
            table,
            str(legacy_id),
        )
        return target_id is not None, notes


@contextlib.contextmanager
def generated(servers: EmbeddedServers) -> Iterator[Old]:
    """Yield a new old database; what was imported from it is deleted afterwards."""
    name = f"legacy_{next(_numbers)}"
    domain = f"{name.replace('_', '-')}.example.org"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = servers.postgres.url.rpartition("/")[0] + f"/{name}"
    generate(url, users=USERS, domain=domain)
    old = Old(servers, url, domain)
    yield old
    old.sql("DELETE FROM jobs.jobs WHERE kind LIKE 'legacy.%%'")
    old.sql("DELETE FROM jobs.kinds WHERE kind LIKE 'legacy.%%'")
    old.sql("DELETE FROM demo.demo_modes USING auth.users WHERE owner_id = user_id AND email LIKE %s", f"%{domain}")
    old.sql("DELETE FROM auth.users WHERE email LIKE %s", f"%{domain}")
    old.sql("DROP SCHEMA IF EXISTS legacy_import CASCADE")
