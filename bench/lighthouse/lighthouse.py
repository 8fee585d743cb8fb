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
    """Lighthouse exited early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    page: Page
    preset: str
    """`mobile` or `desktop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    page: str
    preset: str
    error: str
    """Why there is no result; empty otherwise."""
    scores: Mapping[str, int]
    """Scores by category, 0 to 100."""
    metrics: Mapping[str, float | None]
    """In milliseconds, except the layout shift. None when not measured."""
    remarks: Sequence[str]
    """The failed audits."""


def install() -> Path:
    """Install it once per lock file. Return its directory."""
    mark = INSTALLED / "installed"
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, INSTALLED)
        npm: list[str | Path] = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=INSTALLED, check=True, timeout=INSTALL_SECONDS, env=_environment(), stdout=sys.stderr)
        mark.write_text(digest)
    # Node resolves modules from the folder of the script.
    shutil.copy(HERE / "audit.mjs", INSTALLED)
    return INSTALLED


def audit(directory: Path, url: str, audits: Sequence[Audit]) -> Iterator[Verdict]:
    """Audit pages of the system at `url`, one after the other. Raises `Failed`."""
    audit_request = {
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
        process.stdin.write(json.dumps(audit_request))
        process.stdin.close()
        count = 0
        for count, line in enumerate(process.stdout, start=1):
            yield _verdict(json.loads(line), audits[count - 1], url)
    if count != len(audits):
        raise Failed(f"Lighthouse ended with code {process.returncode} after {count} of {len(audits)} audits")


def _verdict(result: Mapping[str, object], audit: Audit, url: str) -> Verdict:
    error, expected_url = result["error"], url + audit.page.path
    if not error and audit.page.path != "/" and result["url"] != expected_url:
        error = f"led to {result['url']}"
    fields = {name: result[name] for name in ("page", "preset", "scores", "metrics")}
    return Verdict(**fields, error=str(error), remarks=[*result["warnings"], *result["failed"]])  # type: ignore[arg-type, misc]


def _program(name: str) -> Path:
    return Path(sys.executable).parent / name


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
