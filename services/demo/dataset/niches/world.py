"""What a niche module describes: the account, the things it talks about, and what its audience says about them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A family of subjects that share vocabulary, such as phones or soups.

    `ref`, every aspect and every name are singular and read well after "the"; `names` holds the parts of a name,
    which are combined; titles refer to {name}. A `proper` name, such as a game's, goes without the "the";
    what is `digital` is not shipped.
    """

    ref: str
    names: tuple[tuple[str, ...], ...]
    aspects: tuple[str, ...]
    titles: tuple[str, ...]
    proper: bool = False
    digital: bool = False

    def subject_names(self) -> list[str]:
        """Every name the parts can form."""
        return [" ".join(parts) for parts in itertools.product(*self.names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One niche as lived by one profile type.

    The sentences may use {name} and {ref} of the subject and the shared slots of `phrasing.SLOTS`.
    `place` is what visitors call the premises of a local business.
    """

    names: tuple[str, ...]
    taglines: tuple[str, ...]
    tags: tuple[str, ...]
    groups: tuple[Group, ...]
    praise: tuple[str, ...]
    gripe: tuple[str, ...]
    ask: tuple[str, ...]
    note: tuple[str, ...]
    place: str = "place"
