"""Turns a world's phrase banks into recipes: sequences of pools whose picks, joined, are one text."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.demo.dataset import grammar, recipes
from services.demo.dataset.banks import words
from services.demo.dataset.niches import WORLDS, Group, World
from services.demo.dataset.speech import VOICES, leads, reviews
from services.demo.dataset.speech.chatter import CHATTER

SLOTS: dict[str, tuple[str, ...]] = {
    "span": words(
        "two weeks|a month|three months|ten days|half a year|a few weeks|six weeks|nearly a year|four months"
    ),
    "who": words(
        "my sister|my dad|my partner|a colleague|my best friend|my mum|my neighbour|my brother|my flatmate|my aunt"
    ),
    "wait": words("nine days|two weeks|three weeks|ten days|over a week"),
    "day": words("Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"),
    "land": words("Portugal|Canada|Finland|Brazil|Ireland|Poland|Chile|Kenya|Japan|Croatia|New Zealand|Denmark|Peru"),
    "staff": words("Nadine|Tobias|Marisol|Kwame|Elin|Jonte|Sabah|Piet|Livia|Anselm"),
}
_VARIANTS = 9  # fillings made of each phrase, with or without slots: all phrases stay equally likely
_PER_PHRASE = 6  # times a shared phrase enters a bank, with changing aspects
_OWN = 2 * _PER_PHRASE  # times a phrase of the niche itself does: its flavour should prevail
_LONG_BANK = 500  # phrases; a bank this long is varied enough with one filling each
_NAME_WITH_ARTICLE = re.compile(r"\b([aA]) \{name\}")
_CHOICE = re.compile(r"\[([^\]]+)\]")
_VARIABLE = re.compile(r"\[|\{(?:" + "|".join(SLOTS) + ")")

Pool = tuple[str, ...]
Recipe = tuple[Pool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Recipes for one group of subjects, by sentiment or by stars; one that is listed twice is twice as likely.

    Texts may still hold {name}, {a_name}, {A_name} and {handle}, which only the row knows.
    """

    comments: Mapping[str, tuple[Recipe, ...]]
    reviews: Mapping[int, tuple[Recipe, ...]]
    mentions: Mapping[str, Pool]


@functools.lru_cache(maxsize=64)
def scripts(niche: str, profile_type: str) -> tuple[Script, ...]:
    """One script per group of the world, compiled at first use."""
    world = WORLDS[niche, profile_type]
    return tuple(_compile(world, group, profile_type) for group in world.groups)


def _compile(world: World, group: Group, profile_type: str) -> Script:
    voice = VOICES[profile_type]
    chatter = CHATTER[profile_type]
    service = reviews.service(profile_type, group.digital)

    def pool(phrases: Iterable[str]) -> Pool:
        return _fill(phrases, world, group)

    question_aspects = itertools.product(_with_leads(leads.LEAD_ASK, voice.aspect_ask), group.aspects)
    pools = {
        "praise": pool((*world.praise * _OWN, *_aspects(chatter.praise, group))),
        "gripe": pool((*world.gripe * _OWN, *_aspects(chatter.gripe, group))),
        "note": pool((*world.note * _OWN, *_aspects(chatter.note, group))),
        "ask": pool(_with_leads(leads.LEAD_ASK, (*world.ask * _OWN, *_aspects(chatter.ask, group)))),
        "ask_aspect": pool(question.replace("{aspect}", aspect) for question, aspect in question_aspects),
        "praise_aspect": pool(_about(group.aspects, leads.LEAD_POS, voice.aspect_pos)),
        "said_aspect": pool(_about(group.aspects, leads.LEAD_REVIEW, voice.aspect_pos)),
        "liked_aspect": pool(_about(group.aspects[::2], leads.LEAD_REVIEW, leads.LIKED)),
        "gripe_aspect": pool(_about(group.aspects, leads.LEAD_NEG, voice.aspect_neg)),
        "fair_aspect": pool(_about(group.aspects, leads.LEAD_MID, voice.aspect_mid)),
        "but_aspect": pool(_about(group.aspects[1::2], leads.LEAD_BUT, voice.aspect_neg)),
        "open_pos": pool(voice.open_pos),
        "open_neg": pool(voice.open_neg),
        "close_pos": pool(voice.close_pos),
        "close_neg": pool(voice.close_neg),
        "short": pool(_shorts(voice.short_pos, group)),
        "good": pool(service.good),
        "bad": pool(service.bad),
        "fair": pool(service.fair),
        "caveat": pool(service.caveat),
        "harsh": pool(reviews.HARSH),
        "lukewarm": pool(reviews.LUKEWARM),
    }
    return Script(
        comments={mood: _parse(table, pools) for mood, table in recipes.COMMENTS.items()},
        reviews={stars: _parse(table, pools) for stars, table in recipes.REVIEWS.items()},
        mentions={mood: pool(phrases) for mood, phrases in leads.MENTIONS.items()},
    )


def _parse(table: str, pools: Mapping[str, Pool]) -> tuple[Recipe, ...]:
    """Return the recipes of a table, each as often as its weight says, so that one draw chooses."""
    rows = [line.split() for line in table.splitlines() if line.strip()]
    return tuple(tuple(pools[name] for name in names) for weight, *names in rows for _ in range(int(weight)))


def _about(aspects: Sequence[str], leadins: Sequence[str], predicates: Sequence[str]) -> Iterable[str]:
    sentences = [f"the {aspect} {predicate}." for predicate in predicates for aspect in aspects]
    return _with_leads(leadins, sentences)


def _with_leads(leadins: Sequence[str], sentences: Sequence[str]) -> list[str]:
    """Each sentence after each lead, capitalised where a sentence starts."""
    return [_join(lead, sentence) for lead in leadins for sentence in sentences]


def _join(lead: str, sentence: str) -> str:
    if not lead or lead.endswith((".", "!")):
        return f"{lead} {grammar.capitalised(sentence)}".strip()
    return f"{lead} {grammar.uncapitalised(sentence)}"


def _aspects(phrases: Sequence[str], group: Group) -> list[str]:
    """Every phrase `_PER_PHRASE` times, about changing aspects."""
    aspects = group.aspects
    return [
        phrase.replace("{aspect}", aspects[(turn + index) % len(aspects)])
        for turn in range(_PER_PHRASE)
        for index, phrase in enumerate(phrases)
    ]


def _shorts(phrases: Sequence[str], group: Group) -> Iterable[str]:
    for phrase in phrases:
        if "{aspect" not in phrase:
            yield phrase
            continue
        for aspect in group.aspects:
            yield phrase.replace("{aspect}", aspect).replace("{aspect_cap}", grammar.capitalised(aspect))


def _fill(phrases: Iterable[str], world: World, group: Group) -> Pool:
    """Fill every slot but those of the row; long banks get one filling each, short ones `_VARIANTS`."""
    bank = list(phrases)
    variants = _VARIANTS if len(bank) < _LONG_BANK else 1
    # All fillings of most phrases are equal.
    fixed = {phrase: _fill_phrase(phrase, 0, world, group) for phrase in set(bank) if not _VARIABLE.search(phrase)}
    return tuple(
        fixed[phrase] if phrase in fixed else _fill_phrase(phrase, index + variant, world, group)
        for index, phrase in enumerate(bank)
        for variant in range(variants)
    )


def _fill_phrase(phrase: str, turn: int, world: World, group: Group) -> str:
    if "[" in phrase:
        phrase = _CHOICE.sub(lambda choice: _pick(choice[1].split("|"), turn + choice.start()), phrase)
    if "{" not in phrase:
        return phrase
    if group.proper:
        phrase = phrase.replace("the {name}", "{name}").replace("The {name}", "{name}")
    phrase = _NAME_WITH_ARTICLE.sub(r"{\1_name}", phrase)
    phrase = phrase.replace("{ref}", group.ref).replace("{place}", world.place)
    for slot, values in SLOTS.items():
        if f"{{{slot}" in phrase:
            value = _pick(values, turn)
            phrase = phrase.replace(f"{{{slot}}}", value).replace(f"{{{slot}_cap}}", grammar.capitalised(value))
    return grammar.correct_articles(phrase)


def _pick(options: Sequence[str], turn: int) -> str:
    return options[turn % len(options)]
