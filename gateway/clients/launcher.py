"""The control endpoint of `make up`, which breaks parts of the system for a demonstration (decision 0057).

It exists on development machines only: HTTP on the loopback, with a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from chassis import errors

READ_SECONDS = 2.0
ACT_SECONDS = 10.0
"""For what the launcher does before it answers."""
LARGEST_ANSWER = 20_000

_REFUSALS: dict[str, type[errors.Error]] = {
    "break_running": errors.FailedPrecondition,
    "break_too_soon": errors.ResourceExhausted,
    "part_unknown": errors.InvalidArgument,
    "break_unknown": errors.NotFound,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A part that was broken while a job ran."""

    break_id: str
    part: str
    job_id: str
    elapsed_seconds: float
    """Since the fault."""
    is_back: bool
    """Whether the part was started again."""
    seconds: float | None
    """From the fault to the first progress after it."""


class Launcher:
    """The launcher. Each method raises `Unavailable` if it does not answer in time."""

    def __init__(self, url: str, token: str) -> None:
        self._address = urlsplit(url).netloc
        self._token = token

    async def list_breaks(self) -> list[Break]:
        """Return the latest breaks, the newest first."""
        return [Break(**each) for each in (await self._call("GET", "/breaks", READ_SECONDS))["breaks"]]

    async def break_part(self, part: str, *, job_id: str) -> Break:
        """Break a part; return when it is dead. Raises `FailedPrecondition` or `ResourceExhausted` for one too many."""
        body = {"part": part, "job_id": job_id}
        return Break(**await self._call("POST", "/breaks", ACT_SECONDS, body))

    async def note_progress(self, break_id: str) -> None:
        """Note that the job has made progress after a break."""
        await self._call("POST", f"/breaks/{break_id}/progress", READ_SECONDS)

    async def slow_down(self) -> None:
        """Let demo workers write slowly for a few minutes; return when they do."""
        await self._call("POST", "/slow", ACT_SECONDS)

    async def _call(self, method: str, path: str, seconds: float, body: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            # The thread ends by the timeout of its socket.
            status, content = await asyncio.wait_for(
                asyncio.to_thread(self._request, method, path, seconds, json.dumps(body or {})), seconds + 1.0
            )
            answer: dict[str, Any] = json.loads(content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise errors.Unavailable("The launcher does not answer.", code="launcher_unavailable") from error
        if status == http.client.OK:
            return answer
        code = str(answer.get("code", ""))
        raise _REFUSALS.get(code, errors.Unavailable)("The launcher refused.", code=code)

    def _request(self, method: str, path: str, seconds: float, body: str) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=seconds)) as connection:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            return response.status, response.read(LARGEST_ANSWER)
