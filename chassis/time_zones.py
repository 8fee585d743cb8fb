"""IANA time zones by name, the same on every machine."""

from __future__ import annotations

import zoneinfo

_OF_ONE_MACHINE = frozenset({"localtime", "posixrules", "Factory"})
_OTHER_TIMES = ("right/", "posix/")
"""`right/` counts leap seconds."""


def find(name: str) -> zoneinfo.ZoneInfo | None:
    """Return the zone of a name such as `Europe/Berlin`; None if there is none."""
    if not name or name in _OF_ONE_MACHINE or name.startswith(_OTHER_TIMES):
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
