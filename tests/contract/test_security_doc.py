"""The tests that docs/security.md names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHORT = {"a": "integration/auth", "c": "integration/auth/connections", "g": "integration/gateway"}


def test_every_test_that_the_document_names_is_there() -> None:
    named = re.findall(r"`([\w/]+/test_\w+\.py)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 40
    first = {name: name.partition("/") for name in named}
    paths = {name: ROOT / "tests" / SHORT.get(head, head) / rest for name, (head, _, rest) in first.items()}
    assert [name for name, path in paths.items() if not path.exists()] == []
