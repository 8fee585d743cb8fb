"""The responses of polls for events."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import Connection, DemoStatus, Job, NotificationsRead
from gateway.views.exports import ExportStatus


class Reset(TypedDict):
    """Events may be missing: read again what the page shows."""

    reason: str


class Event(TypedDict):
    """One event of the stream."""

    id: Annotated[
        int | None, Field(description="The sequence of a transition, as in the stream; null for what has none.")
    ]
    event: Annotated[
        str, Field(examples=["job"], description="`job`, `demo`, `connection`, `export`, `notification` or `reset`.")
    ]
    data: Annotated[
        Job | DemoStatus | Connection | ExportStatus | NotificationsRead | Reset,
        Field(description="A whole snapshot with a `version`, as in the stream."),
    ]


class PollResult(TypedDict):
    """New events."""

    resumed: Annotated[bool, Field(description="Whether no event is missing since the previous response.")]
    events: list[Event]
    next: Annotated[str, Field(examples=["42.7.0"], description="The value of `after` for the next poll.")]
