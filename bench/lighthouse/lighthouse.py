"""Lighthouse as a child process: installed from its lock file, driven over pipes, one line per audit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pages.users import Page
from dev import chromium

HERE = Path(__file__).parent
INSTALLED = HERE.parent.parent / ".bench" / "lighthouse"
INSTALL_SECONDS = 300.0
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"]["lighthouse"]


class Failed(Exception):
    """Lighthouse ended before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One look at a page."""

    page: Page
    preset: str
    """`mobile` or `desktop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it."""

    page: str
    preset: str
    error: str
    """Why there is nothing to judge; empty if there is."""
    scores: Mapping[str, int]
    """0 to 100, by category."""
    metrics: Mapping[str, float | None]
    """Milliseconds, but for the layout shift; None where nothing was measured."""
    remarks: Sequence[str]
    """What is not as good as it could be."""


def install() -> Path:
    """Install it once for each lock file; gives its directory."""
    mark = INSTALLED / "installed"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, INSTALLED)
        npm: list[str | Path] = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=INSTALLED, check=True, timeout=INSTALL_SECONDS, env=_environment(), stdout=sys.stderr)
        mark.write_text(wanted)
    # Modules are found from where a script lies.
    shutil.copy(HERE / "audit.mjs", INSTALLED)
    return INSTALLED


def audit(directory: Path, url: str, audits: Sequence[Audit]) -> Iterator[Verdict]:
    """Look at pages of the system at `url`, one after the other. Raises `Failed`."""
    told = {
        "chromium": chromium.executable(),
        "args": chromium.ARGUMENTS,
        "url": url,
        "audits": [dataclasses.asdict(audit) for audit in audits],
    }
    with subprocess.Popen(
        [_program("node"), directory / "audit.mjs"],
        env=_environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(told))
        process.stdin.close()
        count = 0
        for count, line in enumerate(process.stdout, start=1):
            yield _verdict(json.loads(line), audits[count - 1], url)
    if count != len(audits):
        raise Failed(f"Lighthouse ended with code {process.returncode} after {count} of {len(audits)} audits")


def _verdict(found: Mapping[str, object], audit: Audit, url: str) -> Verdict:
    error, wanted = found["error"], url + audit.page.path
    if not error and audit.page.path != "/" and found["url"] != wanted:
        error = f"led to {found['url']}"
    facts = {name: found[name] for name in ("page", "preset", "scores", "metrics")}
    return Verdict(**facts, error=str(error), remarks=[*found["warnings"], *found["failed"]])  # type: ignore[arg-type, misc]


def _program(name: str) -> Path:
    return Path(sys.executable).parent / name


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
