"""`make job` runs the file of docs/first-job-kind.md against the running system, and reloads it."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dev import subprocesses
from dev.launcher.stack import ROOT
from tests.acceptance.system import System

SECONDS = 120.0


@asynccontextmanager
async def make_job(system: System, file: Path, payload: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run the command of the Makefile and yield its output. It must exit cleanly on SIGINT."""
    process = await asyncio.create_subprocess_exec(
        *subprocesses.dying_with_parent(signal.SIGKILL),
        *(sys.executable, "-m", "dev", "--data-dir", system.data_dir, "job", file, payload),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line_with(output: asyncio.StreamReader, text: str) -> str:
    """Return the first line that contains `text`."""
    lines = ""
    async with asyncio.timeout(SECONDS):
        while line := (await output.readline()).decode():
            lines += line
            if text in line:
                return line
    raise AssertionError(f"no {text!r} in:\n{lines}")


async def test_file_of_the_page_runs_and_is_reloaded(system: System, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "first-job-kind.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    file = tmp_path / "greeting.py"
    file.write_text(code)
    async with make_job(system, file, '{"names": ["Ada", "Grace"]}') as output:
        assert f"{system.url}/admin/kinds/demo.greet\n" in await line_with(output, "/admin/kinds/")
        assert f"{system.url}/admin/jobs/" in await line_with(output, "is submitted")
        assert 'is completed: {"greeted": ["Hello Ada", "Hello Grace"]}' in await line_with(output, "is completed")

        file.write_text(code + "def broken(:\n")
        await line_with(output, "SyntaxError")
        await line_with(output, "waiting for a change of greeting.py")

        file.write_text(code.replace("demo.greet", "demo.greet-again"))
        assert f"{system.url}/admin/kinds/demo.greet-again\n" in await line_with(output, "/admin/kinds/")

        file.write_text(code.replace("demo.greet", "demo.enable"))
        assert "demo.enable is run by demo-" in await line_with(output, "choose another name")
