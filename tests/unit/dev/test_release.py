"""A release is built from a clean checkout whose changelog names its version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dev import release
from gateway import app

CHANGELOG = "# Changelog\n\n## 1.1.0 - 2026-12-01\n\n### Added\n\n- New.\n\n## 1.0.0\n\n- Old.\n"


def git(tree: Path, *arguments: str) -> None:
    options = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *options, *arguments], cwd=tree, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clean checkout that has a changelog and nothing else."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "CHANGELOG.md").write_text(CHANGELOG)
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", "A release")
    return tree


def test_notes_are_the_newest_section_of_the_changelog() -> None:
    assert release.newest(CHANGELOG) == ("1.1.0", "### Added\n\n- New.\n")


def test_an_empty_section_of_what_follows_may_be_first() -> None:
    assert release.newest(CHANGELOG.replace("## 1.1.0", "## Unreleased\n\n## 1.1.0")) == release.newest(CHANGELOG)


def test_unnamed_version_is_not_released() -> None:
    with pytest.raises(release.NotReleased, match=r"first section of CHANGELOG\.md is not a version"):
        release.newest(CHANGELOG.replace("## 1.1.0 - 2026-12-01", "## Unreleased"))


def test_changed_tree_and_tagged_version_are_not_released(tree: Path, tmp_path: Path) -> None:
    (tree / "new.py").touch()
    with pytest.raises(release.NotReleased, match=r"commit first.*\n.*new\.py"):
        release.release(tree, tmp_path / "dist")
    (tree / "new.py").unlink()
    git(tree, "tag", "v1.1.0")
    with pytest.raises(release.NotReleased, match=r"v1\.1\.0 is tagged already"):
        release.release(tree, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_every_image_of_the_compose_file_is_built() -> None:
    assert sorted(release.images(release.ROOT)) == ["auth", "demo", "gateway", "jobs", "provision"]


def test_version_is_the_same_everywhere() -> None:
    newest = release.HEADING.search((release.ROOT / "CHANGELOG.md").read_text())
    assert newest
    chart = yaml.safe_load((release.ROOT / "deploy/helm/repruv/Chart.yaml").read_text())
    wheel = tomllib.loads((release.ROOT / "protos/pyproject.toml").read_text())["project"]
    assert {chart["version"], chart["appVersion"], wheel["version"], app.VERSION} == {newest[1]}
    pages = [(release.ROOT / "docs" / name).read_text() for name in ("kubernetes.md", "calling-us.md")]
    named = [set(re.findall(r"repruv[a-z_-]*[:-](\d+\.\d+\.\d+)", page)) for page in pages]
    assert named == [{newest[1]}, {newest[1]}]
