"""`python -m dev.site FOLDER` writes the pages of the documentation site and its mkdocs.yml into a new folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dev.site import events, grpc, navigation, pages, rest

SETTINGS = Path(__file__).with_name("mkdocs.yml")


def write(folder: Path) -> None:
    """Write everything that MkDocs needs; a previous folder is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "pages"
    written = pages.write(target)
    references = rest.pages() | grpc.pages() | events.pages()
    for path, text in references.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)
    pages_of_references = [path for path in references if path.endswith(".md")]
    settings = f"INHERIT: {SETTINGS}\n{navigation.build_navigation(written, pages_of_references)}"
    (folder / "mkdocs.yml").write_text(settings)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
