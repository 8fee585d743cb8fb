"""Migrations: once, in order, concurrently, and outside a transaction if configured."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from chassis import migrations
from dev.embedded import EmbeddedServers

CREATE = """
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE things (n int)")
"""
INDEX = """
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY things_n ON things (n)")
"""
BROKEN = """
from alembic import op
revision = "0003"
down_revision = "0002"
def upgrade():
    op.execute("INSERT INTO things VALUES (1)")
    op.execute("SELECT nonsense")
"""


@pytest.fixture
def url(fresh_engines: EmbeddedServers) -> Iterator[str]:
    """A role with its own schema `shop`."""
    with psycopg.connect(fresh_engines.postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE shop LOGIN PASSWORD 'x'")
        connection.execute("CREATE SCHEMA shop AUTHORIZATION shop")
        connection.execute("GRANT CONNECT ON DATABASE repruv TO shop")
        yield fresh_engines.postgres.url_for("shop", "x")
        connection.execute("DROP OWNED BY shop")
        connection.execute("DROP ROLE shop")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_create.py").write_text(CREATE)
    (tmp_path / "0002_index.py").write_text(INDEX)
    return tmp_path


def versions(url: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT version_num FROM shop.schema_version").fetchall()


def test_concurrent_upgrades_do_the_work_once(url: str, directory: Path) -> None:
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda _: migrations.upgrade(url, "shop", directory), range(3)))
    assert versions(url) == [("0002",)]


def test_failed_migration_is_rolled_back_and_can_be_fixed(url: str, directory: Path) -> None:
    broken = directory / "0003_broken.py"
    broken.write_text(BROKEN)
    with pytest.raises(Exception, match="nonsense"):
        migrations.upgrade(url, "shop", directory)
    assert versions(url) == [("0002",)]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM shop.things").fetchone() == (0,)
    broken.write_text(BROKEN.replace('    op.execute("SELECT nonsense")\n', ""))
    migrations.upgrade(url, "shop", directory)
    assert versions(url) == [("0003",)]


def test_a_locked_table_makes_a_migration_fail_rather_than_wait(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    migrations.upgrade(url, "shop", directory)
    (directory / "0003_alter.py").write_text(BROKEN.replace("SELECT nonsense", "ALTER TABLE things ADD m int"))
    with psycopg.connect(url) as somebody:
        somebody.execute("SELECT * FROM shop.things")
        with pytest.raises(Exception, match="lock timeout"):
            migrations.upgrade(url, "shop", directory)
