"""The commands that the documentation names: lines of shell in fenced blocks, and inline code that begins like a command."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "make",
    "python",
    "docker",
    "kubectl",
    "helm",
    "admin",
    "pip",
    "cat",
    "chmod",
    "mkdir",
    "kill",
    "echo",
    "openssl",
    "npm",
)
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n.*?^ *\1$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page."""

    page: str
    text: str
    words: tuple[str, ...]
    variables: dict[str, str]
    """Variables set before the command, or for make after it."""

    @property
    def program(self) -> str:
        """The first word, without the folder of the virtual environment."""
        return self.words[0].removeprefix(".venv/bin/")


@functools.cache
def pages() -> dict[str, str]:
    """Return the text of every Markdown file by its path, without the changelog, which also names removed commands."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {
        name: (ROOT / name).read_text() for name in listed.split() if name != "CHANGELOG.md" if (ROOT / name).exists()
    }


def spans(text: str) -> list[str]:
    """Return the inline code of a page, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def blocks(text: str) -> list[list[str]]:
    """Return the lines of each fenced block that is written in shell: its first line is a command."""
    shell_blocks = []
    for language, body in _FENCE.findall(text):
        joined = _HERE_DOCUMENT.sub("", body.replace("\\\n", " "))
        lines = [line.strip() for line in joined.splitlines() if line.strip()]
        if language in ("", "sh", "bash") and lines and _is_command(lines[0]):
            shell_blocks.append(lines)
    return shell_blocks


def commands(texts: dict[str, str]) -> list[Command]:
    """Return the commands of pages, by their names. Fails if a line of shell begins with an unknown program."""
    parsed_commands = []
    for page, text in texts.items():
        inline = [span for span in spans(text) if _is_command(span) and " " in span]
        for line in (*inline, *(line for block in blocks(text) for line in block)):
            assert _is_command(line), f"{page}: {line}: add the program, and what a test can know of it"
            parsed_commands += [_parsed(page, part) for part in re.split(r"\s(?:&&|\|)\s", line)]
    return parsed_commands


def _is_command(text: str) -> bool:
    words = text.split()
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    return bool(words) and words[0].removeprefix(".venv/bin/") in PROGRAMS


def _parsed(page: str, text: str) -> Command:
    words = shlex.split(re.split(r"\s+(?:>>?|<<)\s*\S+", text)[0], comments=True)
    variables: dict[str, str] = {}
    for position, word in enumerate(list(words)):
        if (match := _ASSIGNMENT.fullmatch(word)) and ("make" in words or position == len(variables)):
            variables[match[1]] = match[2]
            words.remove(word)
    return Command(page, text, tuple(words), variables)
