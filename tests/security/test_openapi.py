"""The API behaves as /openapi.json says for any input: schemathesis with all its checks, as each kind of caller.

`FUZZ_EXAMPLES` (1) is how many cases each operation gets beside those that its schema implies; `make fuzz` takes more of
them, again each time, and lets admins change things too.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import pytest

from tests.acceptance.users import PASSWORD
from tests.security.conftest import ADMIN_EMAIL, Replicated
from tests.security.users import Person

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))
IS_LONG = "FUZZ_EXAMPLES" in os.environ
SEED = secrets.randbelow(2**31) if IS_LONG else 1
SECONDS = 1_800 if IS_LONG else 600
STREAMS = "/events"
"""They end with their client only; tests/integration/gateway reads them."""
EVERYTHING = "examples,coverage,fuzzing"


async def run(system: Replicated, email: str, *arguments: str, by: str, directory: Path, url: str = "") -> None:
    """Run schemathesis; fails with its report."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{HERE.parent.parent}",
        "FUZZ_URL": url or system.url,
        "FUZZ_EMAIL": email,
        "FUZZ_PASSWORD": PASSWORD,
        "FUZZ_BY": by,
        "SCHEMATHESIS_HOOKS": str(HERE / "fuzzing_hooks.py"),
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("st"),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{environment['FUZZ_URL']}/openapi.json",
        f"--seed={SEED}",
        "--checks=all",
        f"--exclude-path-regex={STREAMS}",
        "--generation-database=none",
        "--request-timeout=60",
        # A busy machine may give the schema later than within the ten seconds of one request.
        "--wait-for-schema=60",
        # Hypothesis parses source code, and Python 3.11 must not do that in two threads at the same time.
        "--workers=1",
        "--continue-on-failure",
        "--warnings=off",
        "--no-color",
        *arguments,
        env=environment,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        raise
    finally:
        await process.wait()
    text = output.decode()
    (directory / "report").write_text(text)
    assert process.returncode == 0, text
    # A run that tested nothing is no success.
    assert "No test cases were generated" not in text, text
    assert "Test cases:" in text, text


@pytest.mark.timeout(SECONDS * 2)
async def test_client_with_a_bearer_token(system: Replicated, person: Person, tmp_path: Path) -> None:
    await run(
        system, person.email, f"--phases={EVERYTHING}", f"--max-examples={EXAMPLES}", by="bearer", directory=tmp_path
    )


@pytest.mark.timeout(SECONDS * 2)
async def test_client_with_a_cookie(system: Replicated, person: Person, tmp_path: Path) -> None:
    bounds = [f"--phases={EVERYTHING}"] if IS_LONG else ["--phases=fuzzing", "--exclude-method=GET"]
    url = system.urls[1]
    await run(system, person.email, *bounds, f"--max-examples={EXAMPLES}", by="cookie", directory=tmp_path, url=url)


@pytest.mark.timeout(SECONDS * 2)
async def test_nobody(system: Replicated, tmp_path: Path) -> None:
    bounds = [] if IS_LONG else ["--include-path-regex=/auth/"]
    await run(system, "", "--phases=fuzzing", *bounds, f"--max-examples={EXAMPLES}", by="nothing", directory=tmp_path)


@pytest.mark.timeout(SECONDS * 2)
async def test_an_admin(system: Replicated, admin: Person, tmp_path: Path) -> None:
    bounds = [] if IS_LONG else ["--exclude-method=POST"]
    await run(
        system,
        ADMIN_EMAIL,
        "--include-path-regex=/admin/",
        *bounds,
        "--phases=fuzzing",
        f"--max-examples={EXAMPLES}",
        by="bearer",
        directory=tmp_path,
    )
