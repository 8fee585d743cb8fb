"""A service of another team: the code of docs/calling-us.md, in an environment that has only the wheel and its dependencies."""

from __future__ import annotations

import ast
import asyncio
import importlib.metadata
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dev.launcher import certificates as local
from dev.launcher.stack import ROOT
from provision import certificates
from tests.acceptance import outsider
from tests.acceptance.system import System
from tests.acceptance.users import User

SECONDS = 120.0
PAGE = ROOT / "docs" / "calling-us.md"


async def output_of(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Run a command that must end with this exit code; return its output."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        output = (await process.communicate())[0].decode()
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
async def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the files of the page and a virtual environment, installed from the wheel."""
    folder = tmp_path_factory.mktemp("reports")
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (folder / name).write_text(code)
    await output_of(sys.executable, "protos/build_wheel.py", folder / "dist", cwd=ROOT)
    wheel = next((folder / "dist").glob("*.whl"))
    # The versions that this environment has: a new release of a dependency must not change what a test does.
    versions = {each.name: each.version for each in importlib.metadata.distributions()}
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    await output_of(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "venv/bin/python", "install", "--quiet", "--no-compile")
    await output_of(*pip, "-c", constraints, f"{wheel}[types]", cwd=folder)
    return folder


@pytest.fixture
def environment(system: System) -> dict[str, str]:
    """The variables of a caller, whose certificate the operator has made and whose key the services trust."""
    folder = system.data_dir / "certificates"
    certificates.make(folder, [outsider.NAME])
    return {
        "PATH": os.environ["PATH"],
        "CERTIFICATES": str(Path(local.load_certificate(system.data_dir, outsider.NAME).certificate).parent),
        "IDENTITY_KEY": outsider.IDENTITY_KEY,
        "JOBS_TARGET": system.target("jobs"),
    }


@asynccontextmanager
async def worker(project: Path, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run the worker of the page."""
    process = await asyncio.create_subprocess_exec(
        project / "venv/bin/python", "work.py", cwd=project, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_code_of_the_page_runs_outside_this_repository(
    system: System, project: Path, environment: dict[str, str], user: User
) -> None:
    python = project / "venv/bin/python"
    async with worker(project, environment):
        output = await output_of(python, "submit.py", user.user_id, cwd=project, env=environment)
    last_snapshot, result = output.splitlines()[-2:]
    assert last_snapshot == "JOB_STATE_COMPLETED 3 3"
    assert ast.literal_eval(result) == {"month": "2026-10", "pages": 3}
    jobs = (await user.get("/jobs")).json()["jobs"]
    assert [(job["kind"], job["status"]) for job in jobs] == [("reports.monthly", "completed")]


async def test_a_type_checker_sees_the_types_of_the_wheel(project: Path) -> None:
    check = (sys.executable, "-m", "mypy", "--strict", "--python-executable", project / "venv/bin/python")
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    wrong = "from repruv.jobs.v1 import job_pb2\nfrom repruv_client import new_id\njob_pb2.Job(job_id=7)\nnew_id().x\n"
    (project / "wrong.py").write_text(wrong)
    files = ("connection.py", "submit.py", "work.py", "wrong.py")
    errors = await output_of(*check, *files, cwd=project, env=outside, code=1)
    assert {line.partition(":")[0] for line in errors.splitlines() if ": error: " in line} == {"wrong.py"}
    assert "checked 4 source files" in errors
    assert 'incompatible type "int"' in errors
    assert '"str" has no attribute "x"' in errors
