"""A forked process has the arguments, environment, output, end and parent of one that `python -m` starts."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chassis.process import EXIT_USAGE
from dev.launcher import fork_server
from dev.launcher.fork_server import ForkedProcess, ForkServer
from dev.launcher.replica import Replica

SECONDS = 60.0
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{fork_server.ROOT}:{fork_server.ROOT}/protos/gen"}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with fork_server.running({**ENVIRONMENT, "PYTHONUNBUFFERED": "1", "SERVER": "yes"}) as running:
        yield running


def start(server: ForkServer, statement: str, **environment: str) -> ForkedProcess:
    """Run a statement in a process, by the module of the standard library that does."""
    return server.spawn(["timeit", "-n1", "-r1", statement], environment=environment)


def test_it_has_only_its_own_environment_and_arguments(server: ForkServer) -> None:
    program = "import os, sys; print(dict(os.environ), sys.argv[1:], __import__('__main__').__spec__.name)"
    with start(server, program, MOOD="brave").stdout as output:
        assert output.readline().decode().rstrip() == str({"MOOD": "brave"}) + f" {['-n1', '-r1', program]} timeit"


def test_programs_are_imported_after_the_fork(server: ForkServer) -> None:
    modules = (
        "import sys; print([each for each in ('sqlalchemy', 'grpc', 'services', 'gateway') if each in sys.modules])"
    )
    with start(server, modules).stdout as output:
        assert output.readline() == b"['sqlalchemy', 'grpc']\n"


def test_output_and_exit_code_are_those_of_the_program(server: ForkServer) -> None:
    process = server.spawn(["services.jobs", "fly"], environment=ENVIRONMENT)
    with process.stdout as output:
        assert output.read().startswith(b"usage: python -m services.jobs serve | migrate")
    assert process.wait(SECONDS) == process.poll() == EXIT_USAGE
    process = start(server, "pass")
    with process.stdout as output:
        assert output.readline().startswith(b"1 loop")
    assert process.wait(SECONDS) == process.poll() == 0


def test_processes_are_signalled_one_by_one_in_sessions_of_their_own(server: ForkServer) -> None:
    waiting = [start(server, "import time; print('waits'); time.sleep(600)") for _ in range(2)]
    for process in waiting:
        assert process.stdout.readline() == b"waits\n"
        assert os.getsid(process.pid) == process.pid
    killed, terminated = waiting
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(SECONDS) == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        terminated.wait(0.01)
    assert terminated.poll() is None
    terminated.send_signal(signal.SIGTERM)
    assert terminated.wait(SECONDS) == -signal.SIGTERM
    for process in waiting:
        process.stdout.close()


def test_processes_die_with_the_server_and_replicas_start_again_without_it() -> None:
    program = "import os, time; print(os.getppid(), flush=True); time.sleep(600)"
    lines: queue.Queue[str] = queue.Queue()
    with fork_server.running({**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}) as server:
        process = start(server, "import os, time; print(os.getppid()); time.sleep(600)")
        replica = Replica(
            "clock",
            [sys.executable, "-m", "timeit", "-n1", "-r1", program],
            ENVIRONMENT,
            directory=fork_server.ROOT,
            log=lambda _, line: lines.put(line),
            restarts=True,
            grace_seconds=0.0,
            fork_server=server,
        )
        replica.start()
        try:
            server_pid = int(process.stdout.readline())
            assert int(lines.get(timeout=SECONDS)) == server_pid
            os.kill(server_pid, signal.SIGKILL)
            with process.stdout as output:
                assert output.read() == b""  # the last process with the pipe is gone
            assert process.wait(SECONDS) == -signal.SIGKILL
            assert "SIGKILL" in lines.get(timeout=SECONDS)
            assert int(lines.get(timeout=SECONDS)) == os.getpid()
        finally:
            replica.stop()


def ends(pid: int) -> bool:
    """Wait until a process has ended that may be no child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], SECONDS)[0])
    finally:
        os.close(descriptor)


INHERITING = """
from dev.launcher import fork_server
server = fork_server.inherited()
assert server is fork_server.inherited()
loaded = server.spawn(["timeit", "-n1", "-r1", "import sys; print('grpc' in sys.modules)"], environment={})
print(loaded.stdout.readline().decode().strip(), loaded.wait())
waiting = server.spawn(["timeit", "-n1", "-r1", "import os, time; print(os.getppid()); time.sleep(600)"], environment={
    "PYTHONUNBUFFERED": "1"})
print(int(waiting.stdout.readline()), waiting.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["fork_server.end_inherited()", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_may_have_a_server_of_its_own_that_ends_with_it(server: ForkServer, end: str) -> None:
    statement = INHERITING + end
    process = server.spawn(["timeit", "-n1", "-r1", statement], environment={}, has_server=True)
    with process.stdout as output:
        assert output.readline() == b"True 0\n"
        pids = [int(word) for word in output.readline().split()]
    assert all(ends(pid) for pid in pids)
    with start(server, "from dev.launcher import fork_server; print(fork_server.inherited())").stdout as output:
        assert output.readline() == b"None\n"


@pytest.mark.parametrize("program", ["services.demo", "services.jobs"])
def test_program_has_its_imports_without_a_server(program: str) -> None:
    """Tests of auth, of the gateway and of the provisioning start a process too."""
    command = [sys.executable, "-m", program, "serve"]
    ended = subprocess.run(
        command, env=ENVIRONMENT, cwd=fork_server.ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    assert ended.returncode == EXIT_USAGE
    assert "DATABASE_URL is missing" in ended.stderr
