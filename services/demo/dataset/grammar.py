"""The little English that filled-in phrases need."""

from __future__ import annotations

import re

_ARTICLE = re.compile(r"\b([aA]) (?=([\w-]+))")
_SOUNDS_LIKE_CONSONANT = ("one", "once", "uni", "use", "usu", "eu")
_NUMBERS_WITH_VOWEL = ("8", "11", "18")


def starts_with_vowel_sound(word: str) -> bool:
    """Return whether "an" goes before the word."""
    lower = word.lower()
    return lower.startswith(("a", "e", "i", "o", "u", *_NUMBERS_WITH_VOWEL)) and not lower.startswith(
        _SOUNDS_LIKE_CONSONANT
    )


def correct_articles(text: str) -> str:
    """Turn "a" into "an" where the next word asks for it."""
    return _ARTICLE.sub(lambda match: f"{match[1]}n " if starts_with_vowel_sound(match[2]) else match[0], text)


def capitalised(text: str) -> str:
    """Return the text with a capital first letter, the rest untouched."""
    return text[:1].upper() + text[1:]


def uncapitalised(text: str) -> str:
    """Return the text as it continues a sentence; "I" stays."""
    return text if text.startswith(("I ", "I'")) else text[:1].lower() + text[1:]
