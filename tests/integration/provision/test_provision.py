"""Provisioning creates roles, schemas, tables and streams; a second run changes nothing."""

from __future__ import annotations

from pathlib import Path

import nats
import psycopg
import pytest
from nats.js.api import AckPolicy, DiscardPolicy, RetentionPolicy, StorageType

from chassis import settings as chassis_settings
from chassis import streams
from dev import subprocesses
from dev.embedded import EmbeddedServers
from provision import roles, settings
from provision import streams as provision_streams
from provision.services import SERVICES
from tests.integration.provision.conftest import PASSWORDS

pytestmark = pytest.mark.usefixtures("provisioned_twice")
SERVICES_FOLDER = Path(__file__).parent.parent.parent.parent / "services"


def connect_as(servers: EmbeddedServers, service: str) -> psycopg.Connection:
    return psycopg.connect(servers.postgres.url_for(service, PASSWORDS[service]), autocommit=True)


@pytest.mark.parametrize("service", SERVICES)
def test_every_object_of_a_schema_belongs_to_its_service(fresh_engines: EmbeddedServers, service: str) -> None:
    with psycopg.connect(fresh_engines.postgres.url) as connection:
        owners = connection.execute(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = %s::regnamespace", [service]
        ).fetchall()
        schema_owner = connection.execute(
            "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", [service]
        ).fetchone()
    assert owners == [(service,)]
    assert schema_owner == (service,)


@pytest.mark.parametrize("service", SERVICES)
def test_every_schema_has_its_newest_migration(fresh_engines: EmbeddedServers, service: str) -> None:
    files = sorted(path.name for path in (SERVICES_FOLDER / service / "migrations").glob("[0-9]*.py"))
    with connect_as(fresh_engines, service) as connection:
        row = connection.execute("SELECT version_num FROM schema_version").fetchone()
    assert row is not None
    assert files[-1].startswith(row[0])


@pytest.mark.parametrize("service", SERVICES)
def test_role_cannot_read_other_schemas(fresh_engines: EmbeddedServers, service: str) -> None:
    with connect_as(fresh_engines, service) as connection:
        for other in {*SERVICES, "public"} - {service}:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"CREATE TABLE {other}.intruder (n int)")
        for other in set(SERVICES) - {service}:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {other}.schema_version")


@pytest.mark.parametrize("service", SERVICES)
def test_role_has_limits(fresh_engines: EmbeddedServers, service: str) -> None:
    names = "search_path", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"
    with connect_as(fresh_engines, service) as connection:
        limits = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        powers = connection.execute(
            "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
            " FROM pg_roles WHERE rolname = CURRENT_USER"
        ).fetchone()
    lock, idle = ("600ms", "2s") if service == "jobs" else ("3s", "15s")
    assert limits == [(service,), ("10s",), (lock,), (idle,)]
    assert powers == (False,)


def test_unknown_role_cannot_connect(fresh_engines: EmbeddedServers) -> None:
    with psycopg.connect(fresh_engines.postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(fresh_engines.postgres.url_for("stranger", "x"))
        finally:
            connection.execute("DROP ROLE stranger")


async def test_streams_and_consumers_have_their_settings(fresh_engines: EmbeddedServers) -> None:
    client = await nats.connect(fresh_engines.nats.url)
    js = client.jetstream()
    for service in SERVICES:
        config = (await js.stream_info(service.upper())).config
        assert config.subjects == [f"{service}.events.>"]
        assert (config.retention, config.storage) == (RetentionPolicy.LIMITS, StorageType.FILE)
        assert config.discard == DiscardPolicy.OLD
        ages = (300, 300) if service == "auth" else (72 * 3600, 600)
        assert (config.max_age, config.duplicate_window) == ages
        assert config.max_msg_size == 256 * 1024
        assert config.max_bytes is not None
        assert config.max_bytes > 0
    consumer = (await js.consumer_info("JOBS", "demo")).config
    assert consumer.ack_policy == AckPolicy.EXPLICIT
    assert (consumer.max_deliver, consumer.max_ack_pending) == (-1, 256)
    assert consumer.ack_wait == streams.ACK_WAIT_SECONDS
    assert not consumer.backoff
    assert consumer.deliver_subject is None, "a pull consumer"
    await client.close()


async def test_consumer_of_the_previous_release_gets_its_further_filter(fresh_engines: EmbeddedServers) -> None:
    client = await nats.connect(fresh_engines.nats.url)
    js = client.jetstream()
    await js.add_consumer("JOBS", streams.consumer_config("jobs", "auth", ("auth.>",)))
    await provision_streams.provision(fresh_engines.nats.url, SERVICES, seconds=60.0)
    consumer = (await js.consumer_info("JOBS", "auth")).config
    assert consumer.filter_subjects == ["jobs.events.auth.>", "jobs.events.notifications.>"]
    await client.close()


async def test_larger_stream_of_an_operator_keeps_its_size(fresh_engines: EmbeddedServers) -> None:
    larger = streams.MAX_BYTES + (256 << 20)
    client = await nats.connect(fresh_engines.nats.url)
    js = client.jetstream()
    config = streams.stream_config("jobs", 1)
    config.max_bytes = larger
    await js.update_stream(config)
    await provision_streams.provision(fresh_engines.nats.url, SERVICES, seconds=60.0)
    assert (await js.stream_info("JOBS")).config.max_bytes == larger
    await js.update_stream(streams.stream_config("jobs", 1))
    await client.close()


def test_a_database_of_another_encoding_is_refused(
    fresh_engines: EmbeddedServers,
) -> None:
    with psycopg.connect(fresh_engines.postgres.url, autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
        )
    superuser = fresh_engines.postgres
    with pytest.raises(roles.UnfitDatabase, match="bytes has the encoding SQL_ASCII"):
        roles.provision(superuser.url_for("postgres", superuser.password, database="bytes"), PASSWORDS)


async def test_missing_database_and_absent_nats_are_named(fresh_engines: EmbeddedServers) -> None:
    superuser = fresh_engines.postgres
    missing = superuser.url_for("postgres", superuser.password, database="missing")
    with pytest.raises(roles.Unreachable, match=r'within 0 s: .*database "missing" does not exist'):
        roles.await_database(missing, seconds=0)
    with pytest.raises(provision_streams.Unreachable, match=r"NATS did not accept a connection within 0\.5 s: \S+"):
        await provision_streams.provision(f"nats://127.0.0.1:{subprocesses.free_port()}", SERVICES, seconds=0.5)


def test_a_misspelt_environment_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(chassis_settings.SettingsError, match="ENVIRONMENT must be local or production"):
        chassis_settings.read(settings.Settings, {**environ, "ENVIRONMENT": "prod"})


def test_all_settings_errors_are_reported_together(environ: dict[str, str]) -> None:
    faulty = {**environ, "NATS_URL": "", "JOBS_DB_PASSWORD": "local-only-jobs", "ENVIRONMENT": "production"}
    with pytest.raises(chassis_settings.SettingsError) as excinfo:
        chassis_settings.read(settings.Settings, faulty)
    assert str(excinfo.value) == (
        "NATS_URL is missing; JOBS_DB_PASSWORD holds a published local-only secret; production needs one of its own; "
        "TLS_CERTIFICATE is missing; production needs it; TLS_KEY is missing; production needs it; "
        "TLS_CA is missing; production needs it"
    )
