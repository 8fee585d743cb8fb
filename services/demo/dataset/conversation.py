"""The interactions of a data set: who said what about which item, when, and whether it was answered.

A chunk is made of nothing but the spec, the items and its own number, so work can resume at any chunk.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from services.demo.dataset import catalogue, grammar, people, persona, phrasing, timeline
from services.demo.dataset.spec import Spec
from services.demo.dataset.speech import leads, replies

INTERACTION_CHUNK = 1_000

_REVIEW_SHARE = {  # of the interactions on an item of the platform; the rest are comments and mentions
    "creator": {"facebook": 0.5},
    "brand": {"trustpilot": 1.0, "google": 1.0, "facebook": 0.25},
    "local_business": {"google": 1.0, "facebook": 0.5},
}
_MENTION_SHARE = 0.05
_POSITIVE, _NEUTRAL, _NEGATIVE = "positive", "neutral", "negative"

# Some items please more than others: (negative up to, neutral up to), the rest positive.
_MOODS = ((0.10, 0.33), (0.12, 0.34), (0.15, 0.37), (0.11, 0.32), (0.13, 0.36), (0.18, 0.40), (0.12, 0.35))
_RATING_CEILINGS = ((0.06, 2), (0.14, 1), (0.30, 3), (0.52, 4), (1.0, 5))
_EMOJI_RATINGS = (None, 5)
_SENTIMENT_OF_RATING = ("", _NEGATIVE, _NEGATIVE, _NEUTRAL, _POSITIVE, _POSITIVE)

# Chance of a reply by age in days: recent ones, negative ones above all, still wait for an answer.
_REPLY_AGES = (2 * timeline.DAY, 7 * timeline.DAY, 30 * timeline.DAY)
_REPLY_CHANCE = {
    _POSITIVE: (0.34, 0.58, 0.78, 0.88),
    _NEUTRAL: (0.36, 0.60, 0.82, 0.90),
    _NEGATIVE: (0.22, 0.50, 0.80, 0.93),
}


class Interaction(NamedTuple):
    """One comment, review or mention; `rating` 1..5 on reviews only, `author_handle` without @, time in UTC.

    `reply_text` is set exactly when `replied`.
    """

    position: int
    content_position: int
    kind: str
    platform: str
    author_name: str
    author_handle: str
    text: str
    rating: int | None
    sentiment: str
    occurred_at: datetime
    replied: bool
    reply_text: str | None
    likes: int


def interactions(spec: Spec, items: Sequence[catalogue.ContentItem], chunk: int) -> list[Interaction]:
    """Rows [chunk * INTERACTION_CHUNK, …) of the spec's interactions, fewer in the last chunk, none beyond it.

    `items` is all of `content(spec)`. ValueError if it is not, or if `chunk` is negative.
    """
    if chunk < 0:
        raise ValueError(f"chunk must not be negative, not {chunk}")
    if len(items) != spec.content_count:
        raise ValueError(f"items must hold {spec.content_count} items, not {len(items)}")
    first = chunk * INTERACTION_CHUNK
    count = min(INTERACTION_CHUNK, spec.interaction_count - first)
    if count <= 0:
        return []
    return _Writer(spec, items, chunk).write(first, count)


class _Writer:
    """Holds what all rows of a chunk share. `write` is one flat loop, because a row may cost ten microseconds."""

    def __init__(self, spec: Spec, items: Sequence[catalogue.ContentItem], chunk: int) -> None:
        self._rng = spec.rng(f"interactions:{chunk}")
        self._items = items
        self._cumulative_views = list(itertools.accumulate(item.views for item in items))
        self._published = [int(item.published_at.timestamp()) for item in items]
        self._subjects = catalogue.subjects(spec)
        self._scripts = phrasing.scripts(spec.niche, spec.profile_type)
        self._review_share = _REVIEW_SHARE[spec.profile_type]
        self._replies = {
            occasion: bank
            for (profile_type, occasion), bank in replies.REPLIES.items()
            if profile_type == spec.profile_type
        }
        self._handle = f"@{persona.profile(spec).handle}"
        self._now = int(spec.now.timestamp())
        self._offset = spec.seed * 7919 % people.COMMUNITY

    def write(self, first: int, count: int) -> list[Interaction]:
        rng, items, now = self._rng, self._items, self._now
        draw = rng.random
        community = people.community()
        at = rng.choices(range(len(items)), cum_weights=self._cumulative_views, k=count)
        rows = []
        for position, index in enumerate(at, first):
            item, subject = items[index], self._subjects[index]
            platform = item.platform
            script = self._scripts[subject.group]
            occurred = timeline.reaction_time(self._published[index], now, rng)
            rating: int | None = None
            if draw() < self._review_share.get(platform, 0.0):
                kind = "review"
                rating = _rate(draw())
                sentiment = _SENTIMENT_OF_RATING[rating]
                recipes = script.reviews[rating]
            else:
                kind = "mention" if draw() < _MENTION_SHARE else "comment"
                sentiment = _draw_sentiment(index, draw())
                recipes = script.comments[sentiment]
            recipe = recipes[int(draw() * len(recipes))]
            if kind == "mention":
                recipe = (script.mentions[sentiment], *recipe)
            text = " ".join([pool[int(draw() * len(pool))] for pool in recipe])
            if "{" in text:
                text = self._name(text, subject.name)
            text = _apply_style(text, rating, sentiment, rng)
            person = community[(int(draw() ** 1.5 * people.COMMUNITY) + self._offset) % people.COMMUNITY]
            reply = None
            if _is_answered(sentiment, now - occurred, draw()):
                bank = self._replies[_occasion(sentiment, rating, text)]
                reply = bank[int(draw() * len(bank))].replace("{first}", person.salutation)
            likes = 0
            if (luck := draw()) > 0.55:
                likes = min(item.likes, int((item.likes**0.5 * 0.03 + 0.4) * ((1 - luck) ** -0.85 - 1)))
            rows.append(Interaction(
                position, index, kind, platform, person.name, person.handle, text, rating, sentiment,
                datetime.fromtimestamp(occurred, UTC), reply is not None, reply, likes,
            ))  # fmt: skip
        return rows

    def _name(self, text: str, name: str) -> str:
        text = text.replace("{name}", name)
        if "{" in text:
            article = "n" if grammar.starts_with_vowel_sound(name) else ""
            text = text.replace("{a_name}", f"a{article} {name}").replace("{A_name}", f"A{article} {name}")
            text = text.replace("{handle}", self._handle)
        return text


def _rate(luck: float) -> int:
    return next(rating for ceiling, rating in _RATING_CEILINGS if luck < ceiling)


def _draw_sentiment(index: int, luck: float) -> str:
    negative, neutral = _MOODS[index % len(_MOODS)]
    return _POSITIVE if luck >= neutral else _NEUTRAL if luck >= negative else _NEGATIVE


def _is_answered(sentiment: str, age: int, luck: float) -> bool:
    fresh, recent, past = _REPLY_AGES
    bucket = 3 if age > past else 2 if age > recent else 1 if age > fresh else 0
    return luck < _REPLY_CHANCE[sentiment][bucket]


def _occasion(sentiment: str, rating: int | None, text: str) -> str:
    """Which bank of replies suits: a question wants an answer, a remark a wink, a lukewarm review a promise."""
    if sentiment != _NEUTRAL:
        return sentiment
    if rating is not None:
        return "mixed"
    return "question" if "?" in text else "remark"


def _apply_style(text: str, rating: int | None, sentiment: str, rng: random.Random) -> str:
    """Return the same words as another person writes them: in lower case, without a full stop, or mistyped.

    Reviewers take more care, and only the delighted among them use emoji.
    """
    luck = rng.random()
    if luck > 0.985:
        return _add_typo(text, rng)
    if rating is None and luck < 0.16:
        return text.removesuffix(".").lower()
    if luck < 0.27:
        return text.removesuffix(".")
    if luck > 0.87 and rating in _EMOJI_RATINGS and text.isascii():
        pool = leads.EMOJI[sentiment]
        return f"{text.removesuffix('.')} {pool[int(rng.random() * len(pool))]}"
    return text


def _add_typo(text: str, rng: random.Random) -> str:
    """Swap two neighbouring letters inside of a word."""
    at = 1 + int(rng.random() * (len(text) - 2))
    if not text[at - 1 : at + 2].isalpha():
        return text
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
