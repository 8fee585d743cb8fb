"""The Markdown files of the repository as pages, each at its own path, so that links between them hold.

A link to a proto leads to the gRPC reference. A link to another file that is no page becomes text with the path as its
title.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from dev.launcher.stack import ROOT
from dev.site import grpc

ROOTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
FILES = ("docs/images", "docs/asyncapi.json")
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```.*?^```\s*$)", re.MULTILINE | re.DOTALL)


def write(target: Path) -> list[str]:
    """Write all pages and what they show below `target`; return the paths of the pages."""
    written: dict[str, str] = {}
    waiting = [path.relative_to(ROOT).as_posix() for pattern in ROOTS for path in sorted(ROOT.glob(pattern))]
    while waiting:
        page = waiting.pop()
        if page not in written:
            written[page] = _rewrite_links(page, waiting.append)
    for page, text in written.items():
        (target / page).parent.mkdir(parents=True, exist_ok=True)
        (target / page).write_text(text)
    for name in FILES:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target / name)
    return sorted(written)


def _relative(page: str, target: str) -> str:
    """Return the link from a page to another one."""
    return os.path.relpath(target, PurePosixPath(page).parent)


def _rewrite_links(page: str, on_link: Callable[[str], None]) -> str:
    """Return the text of a page with its links; pass on each page that it links to."""
    parts = _FENCE.split((ROOT / page).read_text())
    replace = partial(_link, page, on_link)
    return "".join(part if part.startswith("```") else _LINK.sub(replace, part) for part in parts)


def _link(page: str, on_link: Callable[[str], None], match: re.Match[str]) -> str:
    text, link, anchor = match[1], match[2], match[3] or ""
    path = os.path.normpath(PurePosixPath(page).parent / link)
    for candidate in _candidates(path):
        if candidate.endswith(".md") and (ROOT / candidate).is_file():
            on_link(candidate)
            return f"[{text}]({_relative(page, candidate)}{anchor})"
    if path.startswith("protos/repruv/") and path.count("/") > 1:
        service = path.split("/")[2]
        return f"[{text}]({_relative(page, grpc.path_of(service))})"
    if any(path == name or path.startswith(f"{name}/") for name in FILES):
        return match[0]
    return f'<span title="{path}">{text}</span>'


def _candidates(path: str) -> Iterator[str]:
    yield path
    yield f"{path}/README.md"
