"""The options of EnableDemo: checked and resolved, and the data set that they define."""

from __future__ import annotations

import secrets
from datetime import timedelta

from chassis import errors
from services.demo import dataset, domain

AUTO = "auto"
EXPIRE_AFTER = (timedelta(minutes=10), timedelta(days=90))


def resolve(
    profile_type: str,
    niche: str,
    content_count: int | None,
    interaction_count: int | None,
    expire_after: timedelta | None = None,
) -> domain.DemoOptions:
    """Check the bounds, and choose what was left open. Raises `InvalidArgument` naming the field and its bounds."""
    require_choices(profile_type, niche)
    content = dataset.DEFAULT_CONTENT if content_count is None else content_count
    interactions = dataset.DEFAULT_INTERACTIONS if interaction_count is None else interaction_count
    _require_between("content_count", content, 1, dataset.MAX_CONTENT)
    _require_between("interaction_count", interactions, 0, dataset.MAX_INTERACTIONS)
    _require_expiry(expire_after)
    seed = secrets.randbits(32)
    chosen_type, chosen_niche = dataset.resolve(profile_type or AUTO, niche or AUTO, seed)
    return domain.DemoOptions(
        profile_type=chosen_type,
        niche=chosen_niche,
        content_count=content,
        interaction_count=interactions,
        seed=seed,
        expire_after=expire_after,
    )


def require_choices(profile_type: str, niche: str) -> None:
    """Check the fields that are chosen from a list. Raises `InvalidArgument`."""
    _require_known("profile_type", profile_type, dataset.PROFILE_TYPES)
    _require_known("niche", niche, dataset.NICHES)


def spec(mode: domain.Mode) -> dataset.Spec:
    """Return the data set of a demo mode that has been enabled at some time."""
    if mode.options is None or mode.seeded_at is None:
        raise errors.Internal("Demo mode was never enabled.")
    return dataset.Spec(
        profile_type=mode.options.profile_type,
        niche=mode.options.niche,
        content_count=mode.options.content_count,
        interaction_count=mode.options.interaction_count,
        seed=mode.options.seed,
        now=mode.seeded_at,
    )


def _require_known(field: str, value: str, values: tuple[str, ...]) -> None:
    if value not in {"", AUTO, *values}:
        raise errors.InvalidArgument(f"{field} must be {AUTO} or one of {', '.join(values)}.", field=field)


def _require_between(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise errors.InvalidArgument(f"{field} must be between {least:,} and {most:,}.", field=field)


def _require_expiry(expire_after: timedelta | None) -> None:
    if expire_after is None:
        return
    least, most = EXPIRE_AFTER
    if not least <= expire_after <= most or expire_after.microseconds:
        raise errors.InvalidArgument(
            "expire_after must be whole seconds between 10 minutes and 90 days.", field="expire_after"
        )
