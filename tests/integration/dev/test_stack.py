"""The launcher brings a compose file's processes up and down, and keeps them up; shown on a small file of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from dev import subprocesses
from dev.launcher import reset, targets
from dev.launcher.ownership import AlreadyRunning
from dev.launcher.stack import Stack, StartFailed

COMPOSE = """
services:
  postgres: { image: "postgres:18" }
  migrate:
    build: .
    command: ["python", "-c", "import os; print('migrating', os.environ['ADMIN'])"]
    environment: { ADMIN: "postgresql://postgres:${POSTGRES_PASSWORD:-x}@postgres:5432/repruv" }
    restart: "no"
    depends_on: { postgres: { condition: service_healthy } }
  demo-worker:
    build: .
    command: ["python", "-c", "import os, time; print('works', os.environ['MOOD'], os.environ['TARGET']); time.sleep(600)"]
    environment: { MOOD: "${MOOD:-calm}", TARGET: "gateway:8080" }
    restart: unless-stopped
    stop_grace_period: 5s
    depends_on: { migrate: { condition: service_completed_successfully } }
  gateway:
    build: .
    command: ["python", "web.py"]
    environment: { LISTEN: "0.0.0.0:8080", FAILING: "${FAILING:-}" }
    restart: unless-stopped
    ports: ["127.0.0.1:${GATEWAY_PORT:-8080}:8080"]
    healthcheck: { test: "python -m chassis.probe http://127.0.0.1:8080/readyz" }
    depends_on: { demo-worker: { condition: service_started } }
"""
WEB = """
import http.server, os, signal, sys
if os.environ["FAILING"]:
    sys.exit("it cannot")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ready")
    def log_message(self, *_): pass
host, port = os.environ["LISTEN"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


class Lines:
    """Remembers what the stack logs."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, label: str, line: str) -> None:
        self.lines.append(f"{label}: {line}")


MakeStack = Callable[..., Stack]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the compose file and of the data, which only the first test finds empty."""
    directory = tmp_path_factory.mktemp("stack")
    (directory / "docker-compose.yml").write_text(COMPOSE)
    (directory / "web.py").write_text(WEB)
    yield directory
    reset.erase(directory / "data")


@pytest.fixture
def make_stack(directory: Path, lines: Lines) -> Iterator[MakeStack]:
    stacks: list[Stack] = []

    def make(**options: object) -> Stack:
        compose_file = directory / "docker-compose.yml"
        stack = Stack(directory / "data", compose_file=compose_file, log=lines, **options)  # type: ignore[arg-type]
        stacks.append(stack)
        return stack

    yield make
    for stack in stacks:
        stack.stop()


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_tools_beside_a_stack_find_its_services_while_it_runs(make_stack: MakeStack) -> None:
    stack = make_stack()
    with pytest.raises(targets.NoRunningStack):
        targets.read(stack.data_dir)
    stack.start()
    database = f"127.0.0.1:{stack.servers.postgres.port}"
    assert targets.read(stack.data_dir) == {"postgres": database, "gateway": stack.target("gateway")}
    stack.stop()
    with pytest.raises(targets.NoRunningStack):
        targets.read(stack.data_dir)


def test_everything_comes_up_in_order_and_leaves_no_process(make_stack: MakeStack, lines: Lines) -> None:
    stack = make_stack(scale={"demo-worker": 2}, env={"MOOD": "brave"})
    stack.start()
    assert httpx.get(stack.url + "/readyz", timeout=60.0).text == "ready"
    port = stack.url.rpartition(":")[2]
    assert f"migrate: migrating {stack.servers.postgres.url}" in lines.lines
    assert eventually(lambda: f"demo-worker-2: works brave 127.0.0.1:{port}" in lines.lines)
    assert lines.lines.index("launcher: postgres is up on port " + str(stack.servers.postgres.port)) == 0
    assert stack.names == ["demo-worker", "gateway"]
    pids = [*stack.pids("demo-worker"), *stack.pids("gateway"), stack.servers.postgres.pid]
    assert len(set(pids)) == 4
    stack.stop()
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_crashed_process_is_restarted_and_logged(make_stack: MakeStack, lines: Lines) -> None:
    stack = make_stack()
    stack.start()
    (before,) = stack.pids("gateway")
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: stack.pids("gateway") not in ([], [before]))
    assert "gateway: was ended by SIGKILL; starting it again in 0.5 s" in lines.lines


def test_a_killed_process_stays_down_until_it_is_started(make_stack: MakeStack) -> None:
    stack = make_stack(scale={"demo-worker": 2})
    stack.start()
    stack.kill("demo-worker", 1)
    assert len(stack.pids("demo-worker")) == 1
    stack.start_process("demo-worker")
    assert len(stack.pids("demo-worker")) == 2


def test_restart_can_change_the_environment(make_stack: MakeStack, lines: Lines) -> None:
    stack = make_stack()
    stack.start()
    stack.restart("demo-worker", env={"MOOD": "wild"})
    port = stack.url.rpartition(":")[2]
    assert eventually(lambda: f"demo-worker: works wild 127.0.0.1:{port}" in lines.lines)


def test_a_process_that_cannot_start_stops_everything(make_stack: MakeStack, lines: Lines) -> None:
    stack = make_stack(env={"FAILING": "yes"})
    with pytest.raises(StartFailed, match="gateway crashed 3 times"):
        stack.start()
    assert "gateway: it cannot" in lines.lines
    assert stack.pids("demo-worker") == []
    assert stack.servers.postgres.pid is None


def test_a_second_start_finds_data_and_secrets(make_stack: MakeStack) -> None:
    first = make_stack()
    first.start()
    secrets = first.data_dir / "secrets.env"
    content = secrets.read_bytes()
    with psycopg.connect(first.database_url()) as connection:
        connection.execute("CREATE TABLE kept ()")
    first.stop()
    second = make_stack()
    second.start()
    assert secrets.read_bytes() == content
    assert secrets.stat().st_mode & 0o077 == 0
    with psycopg.connect(second.database_url()) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == ("kept",)


def test_only_one_launcher_runs_on_a_data_directory(make_stack: MakeStack) -> None:
    make_stack().start()
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        make_stack().start()


def test_the_gateway_port_can_be_chosen(make_stack: MakeStack) -> None:
    port = subprocesses.free_port()
    stack = make_stack(gateway_port=port)
    stack.start()
    assert stack.url == f"http://127.0.0.1:{port}"


def test_a_variable_that_the_compose_file_does_not_read_is_refused(make_stack: MakeStack) -> None:
    with pytest.raises(ValueError, match="does not read MODE"):
        make_stack(env={"MODE": "x"}).start()
