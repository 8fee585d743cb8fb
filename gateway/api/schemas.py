"""The bodies that clients send, validated by pydantic. The shapes of responses are in `gateway.views`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway import demo_options as options

MAX_FIELDS = 100
MAX_VALUES = 20


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    # JSON can contain half a character ("\ud800"), which neither protobuf nor PostgreSQL accepts.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain lone surrogates")
    return text


def _in_utc(moment: datetime) -> datetime:
    """Return a time in UTC, which is also the zone of a time without one."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None


def _one_of(choices: tuple[str, ...]) -> str:
    return ", ".join(f"`{choice}`" for choice in (options.AUTO, *choices))


def _describe_limits(limits: tuple[int, int], default: int) -> str:
    return f"{limits[0]:,} to {limits[1]:,}; {default:,} by default."


Text = Annotated[str, AfterValidator(_storable)]
Item = TypeVar("Item")
Few = Annotated[list[Item], Field(max_length=MAX_VALUES)]
"""A list that a client sends: each invalid item would be a mistake of its own to report."""
Moment = Annotated[datetime, AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Body(BaseModel):
    """A request body: values are not coerced, unknown fields are rejected."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _limit(cls, body: Any) -> Any:
        """Refuse a body with many fields at once: each unknown one would be a mistake of its own to report."""
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            raise ValueError(f"must have at most {MAX_FIELDS} fields")
        return body


class EnableDemo(Body):
    """Options of the demo data."""

    profile_type: Text = Field("auto", description=_one_of(options.PROFILE_TYPES))
    niche: Text = Field("auto", description=_one_of(options.NICHES), examples=["tech_reviews"])
    content_count: Count | None = Field(
        None,
        description=_describe_limits(options.CONTENT_LIMITS, options.DEFAULT_CONTENT),
        json_schema_extra={"minimum": options.CONTENT_LIMITS[0], "maximum": options.CONTENT_LIMITS[1]},
    )
    interaction_count: Count | None = Field(
        None,
        description=_describe_limits(options.INTERACTION_LIMITS, options.DEFAULT_INTERACTIONS),
        json_schema_extra={"maximum": options.INTERACTION_LIMITS[1]},
    )
    expires_in_seconds: int | None = Field(
        None,
        ge=int(options.EXPIRY_LIMITS[0].total_seconds()),
        le=int(options.EXPIRY_LIMITS[1].total_seconds()),
        description="Seconds after which it is disabled automatically; never by default.",
    )
