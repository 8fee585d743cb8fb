"""The newest snapshots of one owner's connections to platforms, and whether one may have moved unheard.

Their transitions have no sequence that would show a missing one: when some may have been missed, all are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway import views
from repruv.auth.v1 import connection_pb2

ASK_AGAIN_SECONDS = 5.0


class Platforms:
    """What is known about one owner's connections."""

    def __init__(self) -> None:
        self._connections: dict[str, connection_pb2.Connection] = {}
        self._is_sure = False
        self._asked_at = 0.0

    def note(self, connection: connection_pb2.Connection) -> bool:
        """Remember a connection; False if it was known as well or better."""
        known = self._connections.get(connection.platform)
        if known is not None and connection.version <= known.version:
            return False
        self._connections[connection.platform] = connection
        return True

    def confirm(self) -> None:
        """Say that what was noted last is how all of them stand."""
        self._is_sure = True

    def distrust(self) -> None:
        """Say that transitions may have been missed."""
        self._is_sure = False

    def forget(self) -> None:
        """Start afresh: what is known may never have been."""
        self._connections.clear()
        self._is_sure = False

    def wants(self, *, hears: bool) -> bool:
        """Whether to ask how they stand: something may have been missed, or is on its way while nothing is heard.

        Puts the next time off.
        """
        now = asyncio.get_running_loop().time()
        if (self._is_sure and (hears or not self._is_moving)) or now < self._asked_at + ASK_AGAIN_SECONDS:
            return False
        self._asked_at = now
        return True

    @property
    def is_sure(self) -> bool:
        """Whether nobody has to be asked how they stand, as long as everything is heard."""
        return self._is_sure

    def snapshots(self) -> Sequence[views.Json]:
        """Show each connection that was ever used, as it was last heard of."""
        return [views.connection(found) for found in self._connections.values() if found.version]

    @property
    def _is_moving(self) -> bool:
        return any(views.connection_state(found) in views.CONNECTION_MOVING for found in self._connections.values())
