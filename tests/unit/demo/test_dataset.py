from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from services.demo import dataset

NOW = datetime(2026, 5, 4, 15, 30, 12, 345678, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
PAIRS = [(niche, profile_type) for niche in dataset.NICHES for profile_type in dataset.PROFILE_TYPES]


def make_spec(
    niche: str = "food",
    profile_type: str = "brand",
    content_count: int = dataset.DEFAULT_CONTENT,
    interaction_count: int = dataset.DEFAULT_INTERACTIONS,
    seed: int = 7,
) -> dataset.Spec:
    return dataset.Spec(
        profile_type=profile_type,
        niche=niche,
        content_count=content_count,
        interaction_count=interaction_count,
        seed=seed,
        now=NOW,
    )


def all_interactions(spec: dataset.Spec) -> list[dataset.Interaction]:
    items = dataset.content(spec)
    chunks = -(-spec.interaction_count // dataset.INTERACTION_CHUNK)
    return [row for chunk in range(chunks) for row in dataset.interactions(spec, items, chunk)]


def fingerprint(spec: dataset.Spec) -> str:
    everything = repr((dataset.profile(spec), dataset.content(spec), all_interactions(spec)))
    return hashlib.sha256(everything.encode()).hexdigest()


@pytest.mark.slow
def test_equal_specs_give_equal_data() -> None:
    assert fingerprint(make_spec()) == fingerprint(make_spec())


def test_another_seed_gives_other_data() -> None:
    assert fingerprint(make_spec(seed=7)) != fingerprint(make_spec(seed=8))


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_data() -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "import test_dataset\nprint(test_dataset.fingerprint(test_dataset.make_spec()))"
    )
    for hash_seed in ("0", "4242"):
        answer = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert answer.stdout.strip() == fingerprint(make_spec())


@pytest.mark.parametrize(("content_count", "interaction_count"), [(1, 0), (1, 1), (3, 999), (60, 1000), (7, 2001)])
def test_counts_and_positions_match_the_spec(content_count: int, interaction_count: int) -> None:
    spec = make_spec(content_count=content_count, interaction_count=interaction_count)
    items, rows = dataset.content(spec), all_interactions(spec)

    assert [item.position for item in items] == list(range(content_count))
    assert [row.position for row in rows] == list(range(interaction_count))
    assert {row.content_position for row in rows} <= set(range(content_count))


@pytest.mark.slow
def test_largest_data_set_is_complete() -> None:
    spec = make_spec(content_count=dataset.MAX_CONTENT, interaction_count=dataset.MAX_INTERACTIONS)
    items, rows = dataset.content(spec), all_interactions(spec)

    assert len({item.title for item in items}) == dataset.MAX_CONTENT
    assert len(rows) == dataset.MAX_INTERACTIONS
    assert len({row.text for row in rows}) > 0.6 * len(rows)


def test_a_chunk_does_not_depend_on_the_others() -> None:
    spec = make_spec(interaction_count=3_500)
    items = dataset.content(spec)
    backwards = [dataset.interactions(spec, items, chunk) for chunk in (3, 2, 1, 0)]

    assert all_interactions(spec) == [row for rows in reversed(backwards) for row in rows]
    assert dataset.interactions(spec, dataset.content(spec), 2) == backwards[1]


def test_chunks_past_the_end_are_empty() -> None:
    spec = make_spec(interaction_count=1_000)
    assert dataset.interactions(spec, dataset.content(spec), 1) == []


def test_a_time_zone_only_changes_the_name_of_the_moment() -> None:
    spec = make_spec()
    elsewhere = dataclasses.replace(spec, now=NOW.astimezone(timezone(timedelta(hours=9))))
    assert fingerprint(spec) == fingerprint(elsewhere)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profile_type", "auto"),
        ("profile_type", "robot"),
        ("niche", "auto"),
        ("niche", ""),
        ("content_count", 0),
        ("content_count", dataset.MAX_CONTENT + 1),
        ("interaction_count", -1),
        ("interaction_count", dataset.MAX_INTERACTIONS + 1),
        ("now", datetime(2026, 5, 4)),  # noqa: DTZ001
    ],
)
def test_value_out_of_bounds_is_rejected_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(make_spec(), **{field: value})  # type: ignore[arg-type]


def test_a_wrong_chunk_or_foreign_items_are_rejected() -> None:
    spec = make_spec()
    items = dataset.content(spec)
    with pytest.raises(ValueError, match="chunk"):
        dataset.interactions(spec, items, -1)
    with pytest.raises(ValueError, match="items"):
        dataset.interactions(spec, items[1:], 0)


def test_auto_is_resolved_by_the_seed() -> None:
    resolved = {seed: dataset.resolve("auto", "auto", seed) for seed in range(200)}

    assert resolved == {seed: dataset.resolve("auto", "auto", seed) for seed in range(200)}
    assert {profile_type for profile_type, _ in resolved.values()} == set(dataset.PROFILE_TYPES)
    assert {niche for _, niche in resolved.values()} == set(dataset.NICHES)
    assert dataset.resolve("brand", "auto", 3)[0] == "brand"
    assert dataset.resolve("auto", "travel", 3)[1] == "travel"


@pytest.mark.parametrize(("field", "arguments"), [("profile_type", ("robot", "auto")), ("niche", ("auto", "cars"))])
def test_unknown_choices_are_not_resolved(field: str, arguments: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=field):
        dataset.resolve(*arguments, seed=1)


@pytest.mark.parametrize(("niche", "profile_type"), PAIRS)
def test_every_profile_is_complete(niche: str, profile_type: str) -> None:
    profile = dataset.profile(make_spec(niche, profile_type))

    assert profile.name and profile.tagline
    assert profile.handle.isalnum() and profile.handle == profile.handle.lower()
    assert 1 <= len(profile.avatar) <= 2 and profile.avatar.isupper()
    assert (profile.niche, profile.profile_type) == (niche, profile_type)
    assert {item.platform for item in dataset.content(make_spec(niche, profile_type))} <= set(profile.platforms)
