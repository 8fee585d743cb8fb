"""What polls for events answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Event(BaseModel):
    """One event of the stream."""

    id: int | None = Field(description="The sequence of a transition, as in the stream; null for what has none.")
    event: str = Field(examples=["job"], description="`job`, `demo`, `connection` or `reset`.")
    data: dict[str, Any] = Field(description="A whole snapshot with a `version`, as in the stream.")


class Piece(BaseModel):
    """What is new."""

    resumed: bool = Field(description="Whether nothing is missing between the answer before and this one.")
    events: list[Event]
    next: str = Field(examples=["42.7.0"], description="What to hand back as `after`.")
