"""Values that an attempt saves for later attempts."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from chassis import errors, protobuf
from worker._api.jobs import AttemptKey
from worker._api.outcomes import JobFailed
from worker._api.retry import retry_while_unavailable

STATE = "@state"
"""The name of the value that `Context.checkpoint` saves. Names of steps do not begin with @."""


class Store(Protocol):
    """Where checkpoints are stored."""

    async def save_checkpoint(
        self, key: AttemptKey, name: str, value: Any, duration: timedelta | None, number: int
    ) -> None:
        """Save a JSON value, how long the step took that returned it, and the position of the call in the attempt."""

    async def get_checkpoints(self, key: AttemptKey) -> dict[str, Any]:
        """Return all saved values."""


class Checkpoints:
    """The saved values of a job. They are read once, at the first use."""

    def __init__(self, store: Store, key: AttemptKey, *, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called when the lease is lost; it cancels the calling task."""
        self._store = store
        self._key = key
        self._on_lost = on_lost
        # The first attempt has nothing to read.
        self._values: dict[str, Any] | None = {} if key[1] == 1 else None
        self._lock = asyncio.Lock()
        self._number = 0

    async def find(self, name: str) -> tuple[bool, Any]:
        """Return whether a value of this name is saved, and the value."""
        saved = await self._load()
        # A copy: the handler may change the value, and its next call must find the saved one.
        return name in saved, copy.deepcopy(saved.get(name))

    async def save(self, name: str, value: object, duration: timedelta | None = None) -> Any:
        """Save a value and return it as later attempts will read it. Raises `JobFailed` when it cannot be stored."""
        try:
            json_value = protobuf.from_value(protobuf.to_value(value))
        except (ValueError, TypeError) as error:
            # Not retryable: a step whose result is never JSON would repeat its work in each attempt.
            raise _refused(name, str(error)) from error
        saved = await self._load()
        self._number = number = self._number + 1
        try:
            await retry_while_unavailable(
                lambda: self._store.save_checkpoint(self._key, name, json_value, duration, number)
            )
        except (errors.Aborted, errors.NotFound):
            await self._stop()
            raise
        except (errors.InvalidArgument, errors.ResourceExhausted) as error:
            raise _refused(name, error.message) from error
        saved[name] = json_value
        return copy.deepcopy(json_value)

    async def _load(self) -> dict[str, Any]:
        if self._values is not None:
            return self._values
        async with self._lock:
            if self._values is None:
                try:
                    self._values = await retry_while_unavailable(lambda: self._store.get_checkpoints(self._key))
                except (errors.Aborted, errors.NotFound):
                    await self._stop()
                    raise
        return self._values

    async def _stop(self) -> None:
        self._on_lost()
        # The cancellation is raised here, so that the handler does nothing more.
        await asyncio.sleep(0)


def _refused(name: str, cause: str) -> JobFailed:
    return JobFailed("checkpoint_refused", f"The checkpoint {name} could not be stored: {cause}", retryable=False)
