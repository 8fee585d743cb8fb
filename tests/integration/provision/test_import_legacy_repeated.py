"""The import of the old system's database: repeated, interrupted, dry, beside a system in use."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dev.embedded import EmbeddedServers
from provision import __main__ as provisioning
from provision.legacy import ledger, run, source
from tests.integration.provision import legacy_database
from tests.integration.provision.legacy_database import USERS, Old


@pytest.fixture
def old(provisioned: EmbeddedServers) -> Iterator[Old]:
    """A new old database."""
    with legacy_database.generated(provisioned) as old:
        yield old


def test_second_run_changes_nothing(old: Old) -> None:
    first = old.run()
    before = old.all_rows()
    second = old.run(batch=1_000)
    assert old.all_rows() == before
    for table in first["tables"].values():
        table["new_in_this_run"] = 0
    assert second == first


def test_killed_import_continues(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    # Each run writes one batch more than the one before, and dies after the rows of the next and before its ledger.
    deaths = 0
    write = ledger.write
    for survived in range(40):
        calls = itertools.count()

        def dying(*arguments: Any, calls: Iterator[int] = calls, survived: int = survived) -> None:
            if next(calls) == survived:
                raise Killed
            write(*arguments)

        monkeypatch.setattr(ledger, "write", dying)
        try:
            old.run()
        except Killed:
            deaths += 1
        else:
            break
    monkeypatch.setattr(ledger, "write", write)
    assert deaths > 5
    interrupted = old.run()
    assert interrupted["tables"]["users"]["imported"] == USERS + 10
    assert interrupted["tables"]["background_jobs"]["imported"] == USERS + 2
    assert old.sql("SELECT count(*) FROM jobs.jobs WHERE kind LIKE 'legacy.%%'") == [(USERS + 2,)]


def test_process_killed_in_the_middle_is_continued_by_the_next_and_a_role_that_only_reads_is_enough(
    old: Old, provisioned: EmbeddedServers, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "provision", "import-legacy", "--report", str(report)]
    environ = {**os.environ, "ADMIN_DATABASE_URL": provisioned.postgres.url}
    name = f"killed-{uuid.uuid4().hex}"
    session = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
    untouched = old.rows()
    with old.reader() as reader_url:
        command += ["--from", reader_url]
        with psycopg.connect(provisioned.postgres.url) as blocking:
            blocking.execute("LOCK TABLE auth.connections IN SHARE MODE")
            process = subprocess.Popen(command, env={**environ, "PGAPPNAME": name}, stdout=subprocess.DEVNULL)
            while not old.sql(f"{session} AND cardinality(pg_blocking_pids(pid)) > 0", name):
                assert process.poll() is None
            process.kill()
            process.wait()
            assert old.sql("SELECT count(*) FROM legacy_import.rows WHERE source <> 'users'") == [(0,)]
            users = old.all_rows()["auth.users"]
            assert len(users) >= USERS + 10
        # PostgreSQL notices that the process is gone when its statement ends; until then another import is refused.
        while old.sql(session, name):
            pass
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, timeout=60, check=True)
    tables = json.loads(report.read_text())["tables"]
    assert (tables["users"]["imported"], tables["users"]["new_in_this_run"]) == (USERS + 10, 0)
    assert tables["background_jobs"]["imported"] == USERS + 2
    assert old.all_rows()["auth.users"] == users
    assert old.rows() == untouched, "the way back"


def test_dry_run_reports_the_same_and_stores_nothing(old: Old) -> None:
    before = old.sql("SELECT count(*) FROM auth.users")
    dry = old.run(dry_run=True)
    assert old.sql("SELECT count(*) FROM auth.users") == before
    assert old.sql("SELECT to_regclass('legacy_import.rows')") == [(None,)]
    assert dry.pop("dry_run")
    wet = old.run()
    assert not wet.pop("dry_run")
    assert dry == wet


def test_what_users_changed_since_stays(old: Old) -> None:
    old.run()
    remaining_id, removed_id = old.user("user1")[6], old.user("user3")[6]
    old.sql(
        "UPDATE auth.users SET name = 'Changed here', password_hash = '$argon2id$new' WHERE user_id = %s", remaining_id
    )
    old.sql("DELETE FROM auth.users WHERE user_id = %s", removed_id)
    with psycopg.connect(old.url) as connection:
        connection.execute("INSERT INTO background_jobs (user_id, job_type, status) VALUES (3, 'late', 'completed')")
        connection.execute(
            "INSERT INTO users (email, password_hash, full_name) VALUES (%s, %s, 'Late')",
            [f"late@{old.domain}", legacy_database.BCRYPT],
        )
    result = old.run()
    assert old.user("user1")[:2] == ("Changed here", "$argon2id$new")
    assert old.sql("SELECT count(*) FROM auth.users WHERE user_id = %s", removed_id) == [(0,)]
    assert old.user("late")[0] == "Late"
    assert result["tables"]["background_jobs"]["notes"]["owner_deleted"]["rows"] == 1
    assert result["tables"]["users"]["new_in_this_run"] == 1


def test_row_that_was_mended_in_the_old_database_is_imported_by_the_next_run(old: Old) -> None:
    old.run()
    assert old.notes("users", 1000003) == (False, ["email_unusable"])
    with psycopg.connect(old.url) as connection:
        connection.execute("UPDATE users SET email = %s WHERE id = 1000003", [f"mended@{old.domain}"])
    old.run()
    assert old.notes("users", 1000003) == (True, ["demo_rebuilt"])
    assert old.notes("platform_connections", 1000002) == (True, ["connect_again"])


def test_address_that_somebody_registered_here_stays_theirs(old: Old) -> None:
    user_id = uuid.uuid4()
    old.sql(
        "INSERT INTO auth.users (user_id, email, name, role, password_hash) VALUES (%s, %s, '', 'user', '$argon2id$x')",
        user_id,
        f"user2@{old.domain}",
    )
    old.run()
    assert old.user("user2")[6] == user_id
    assert old.notes("users", 2) == (False, ["email_taken"])


def test_only_one_import_runs_at_a_time(old: Old, provisioned: EmbeddedServers) -> None:
    with psycopg.connect(provisioned.postgres.url) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended('import-legacy', 0))")
        with pytest.raises(run.AlreadyRunning):
            old.run()


def test_database_without_users_is_refused(provisioned: EmbeddedServers, old: Old) -> None:
    with psycopg.connect(old.url) as connection:
        connection.execute("ALTER TABLE users RENAME COLUMN email TO post")
    with pytest.raises(source.UnfitSource, match="table users has no column for email"):
        old.run()
    with psycopg.connect(old.url) as connection:
        connection.execute("ALTER TABLE users RENAME TO people")
    with pytest.raises(source.UnfitSource, match="no table users"):
        old.run()


def test_database_that_cannot_be_opened_is_refused_without_its_password(old: Old) -> None:
    for url in ("nothing", "mysql://reader:hunter2@old-db/app"):
        with pytest.raises(source.UnfitSource, match="the old database needs a URL such as postgresql://") as excinfo:
            source.Source(url)
        assert "hunter2" not in str(excinfo.value)
    with pytest.raises(source.UnfitSource, match=r"cannot be read: .* database .* does not exist"):
        source.Source(old.url.rpartition("/")[0] + "/nowhere")


def test_command_prints_the_report_and_writes_it_as_json(
    old: Old,
    provisioned: EmbeddedServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ADMIN_DATABASE_URL", provisioned.postgres.url)
    file = tmp_path / "report.json"
    assert provisioning.main(["import-legacy", "--from", old.url, "--report", str(file)]) == 0
    assert f"users: {USERS + 10} imported ({USERS + 10} by this run), 4 left out" in capsys.readouterr().out
    assert json.loads(file.read_text())["tables"]["users"]["imported"] == USERS + 10
