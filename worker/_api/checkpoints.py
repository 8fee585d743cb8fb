"""What an attempt keeps for the next ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from chassis import errors, values
from worker._api.jobs import AttemptKey
from worker._api.outcomes import JobFailed
from worker._api.retry import retry_while_unavailable

STATE = "@state"
"""The name under which `Context.checkpoint` saves; steps have other ones."""


class Store(Protocol):
    """Where checkpoints are kept."""

    async def save_checkpoint(self, held: AttemptKey, name: str, value: Any) -> None:
        """Keep a JSON value."""

    async def get_checkpoints(self, held: AttemptKey) -> dict[str, Any]:
        """Give all that were kept."""


class Checkpoints:
    """The values that the attempts of a job have saved. Read once, when first needed."""

    def __init__(self, store: Store, held: AttemptKey, *, lost: Callable[[], None]) -> None:
        """`lost` is called when the lease turns out to be gone; it ends the task that it is called in."""
        self._store = store
        self._held = held
        self._lost = lost
        # The first attempt has nothing to read.
        self._values: dict[str, Any] | None = {} if held[1] == 1 else None
        self._reading = asyncio.Lock()

    async def find(self, name: str) -> tuple[bool, Any]:
        """Say whether there is a value of this name, and which."""
        found = await self._read()
        return name in found, found.get(name)

    async def save(self, name: str, value: object) -> Any:
        """Keep a value and give it as later attempts will see it. Raises `JobFailed` for one that cannot be kept."""
        kept = values.from_value(values.to_value(value))
        found = await self._read()
        try:
            await retry_while_unavailable(lambda: self._store.save_checkpoint(self._held, name, kept))
        except (errors.Aborted, errors.NotFound):
            await self._stop()
            raise
        except (errors.InvalidArgument, errors.ResourceExhausted) as error:
            message = f"The checkpoint {name} could not be stored: {error.message}"
            raise JobFailed("checkpoint_refused", message, retryable=False) from error
        found[name] = kept
        return kept

    async def _read(self) -> dict[str, Any]:
        if self._values is not None:
            return self._values
        async with self._reading:
            if self._values is None:
                try:
                    self._values = await retry_while_unavailable(lambda: self._store.get_checkpoints(self._held))
                except (errors.Aborted, errors.NotFound):
                    await self._stop()
                    raise
        return self._values

    async def _stop(self) -> None:
        self._lost()
        # The cancellation arrives here; nothing of the handler runs after it.
        await asyncio.sleep(0)
