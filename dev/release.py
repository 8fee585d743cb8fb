"""`make release`: builds what a release publishes into dist/, from a clean checkout: wheel, chart, images, notes, checksums.

It publishes nothing and makes no tag: it prints the commands that do.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADING = re.compile(r"^## (\d+\.\d+\.\d+)(?: - \d{4}-\d\d-\d\d)?$", re.MULTILINE)
IMPORTS = (
    f"import repruv_client, {', '.join(f'repruv.{name}.v1.{name}_service_pb2' for name in ('auth', 'demo', 'jobs'))}"
)
COMMAND_SECONDS = 1_800.0
"""At most for one command; the longest is the build of an image."""


class NotReleased(Exception):
    """The release was not built; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Build the release. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.release", description=__doc__)
    parser.add_argument("--engine", default="", help="docker or podman: build the images too")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="default: dist")
    args = parser.parse_args(arguments)
    try:
        version = release(ROOT, args.dist.absolute(), engine=args.engine)
    except NotReleased as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(
        "Next:\n"
        f"  git tag --annotate v{version} --message 'Repruv {version}' && git push origin v{version}\n"
        f"  publish dist/ and the images; then set COMMIT in tests/previous/release.py to $(git rev-parse v{version}^{{commit}})"
    )
    return 0


def release(root: Path, dist: Path, *, engine: str = "") -> str:
    """Build the release of a checkout into an empty folder; return its version. Raises `NotReleased`."""
    version, notes = newest((root / "CHANGELOG.md").read_text())
    if changed := _output(root, "git", "status", "--porcelain").strip():
        raise NotReleased(f"commit first, the tree has changes:\n{changed}")
    if _output(root, "git", "tag", "--list", f"v{version}").strip():
        raise NotReleased(f"v{version} is tagged already: begin the changelog of the next version")
    dist.mkdir(parents=True, exist_ok=True)
    if any(dist.iterdir()):
        raise NotReleased(f"{dist} is not empty: make clean deletes it")
    wheel = dist / f"repruv_protos-{version}-py3-none-any.whl"
    _run(root, sys.executable, "protos/build_wheel.py", str(dist))
    _run(root, str(Path(sys.executable).parent / "helm"), "package", "deploy/helm/repruv", "--destination", str(dist))
    for name in (wheel.name, f"repruv-{version}.tgz"):
        if not (dist / name).exists():
            raise NotReleased(f"{name} was not built: its version is not that of the changelog")
    _try_wheel(root, wheel)
    (dist / "notes.md").write_text(notes)
    for image, dockerfile in images(root).items() if engine else ():
        _run(root, engine, "build", "--tag", f"repruv-{image}:{version}", "--file", str(dockerfile), ".")
    built = sorted(path for path in dist.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in built]
    (dist / "SHA256SUMS").write_text("".join(sums))
    return version


def newest(changelog: str) -> tuple[str, str]:
    """Return the newest version of a changelog and its text. Raises `NotReleased`.

    Before it there may be the heading *Unreleased*, without anything below it.
    """
    changelog = re.sub(r"^## Unreleased\n+(?=## )", "", changelog, flags=re.MULTILINE)
    headings = list(HEADING.finditer(changelog))
    first_section = re.search(r"^## .*$", changelog, re.MULTILINE)
    if not headings or not first_section or first_section.start() != headings[0].start():
        raise NotReleased("the first section of CHANGELOG.md is not a version: name it, such as ## 1.2.3")
    end = headings[1].start() if len(headings) > 1 else len(changelog)
    return headings[0][1], changelog[headings[0].end() : end].strip() + "\n"


def images(root: Path) -> dict[str, Path]:
    """Return the Dockerfile of each image."""
    dockerfiles = [
        root / "gateway/Dockerfile",
        root / "provision/Dockerfile",
        *sorted(root.glob("services/*/Dockerfile")),
    ]
    return {path.parent.name: path.relative_to(root) for path in dockerfiles}


def _try_wheel(root: Path, wheel: Path) -> None:
    """Install the wheel in an environment of its own and import what it has."""
    with tempfile.TemporaryDirectory(prefix="repruv-release-") as folder:
        python = Path(folder) / "bin" / "python"
        _run(root, sys.executable, "-m", "venv", "--without-pip", folder)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python))
        _run(root, *pip, "install", "--quiet", str(wheel))
        _run(Path(folder), str(python), "-I", "-c", IMPORTS)


def _run(cwd: Path, *command: str) -> None:
    """Run a command and show its output. Raises `NotReleased`."""
    print(f"$ {' '.join(command)}", flush=True)
    try:
        subprocess.run(command, cwd=cwd, check=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReleased(f"{command[0]} failed: {error}") from error


def _output(cwd: Path, *command: str) -> str:
    try:
        return subprocess.run(
            command, cwd=cwd, check=True, timeout=COMMAND_SECONDS, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReleased(f"{command[0]} failed: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
