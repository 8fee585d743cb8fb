"""The names of job kinds in emails: those of the pages. A contract test compares them."""

from __future__ import annotations

from collections.abc import Mapping

KIND_NAMES: Mapping[str, str] = {
    "demo.enable": "Enable demo mode",
    "demo.disable": "Disable demo mode",
    "demo.export": "Export my reviews",
    "auth.connect": "Connect a platform",
    "auth.disconnect": "Disconnect a platform",
    "auth.export-data": "Export my data",
    "jobs.bulk": "Change many jobs",
}


def kind_name(kind: str) -> str:
    """Return the name of a kind for its owner."""
    if name := KIND_NAMES.get(kind):
        return name
    words = kind.partition(".")[2] or kind
    for separator in "_-.":
        words = words.replace(separator, " ")
    return words.strip().capitalize() or kind
