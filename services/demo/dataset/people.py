"""The invented audience: names from many places, and the handles people make of them."""

from __future__ import annotations

import functools
import random
import unicodedata
from typing import NamedTuple

COMMUNITY = 12_000  # people; the largest data set has about eight interactions from each


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _split(
    "Aaliyah Abel Ada Adel Agnes Aiko Akira Alba Alma Amara Amir Anders Anika Anouk Anton Arjun Asha Astrid Aurora "
    "Ayo Bao Beatriz Ben Bianca Birgit Bram Caleb Camila Carla Cem Chiara Chloe Clara Cleo Dana Daria David Deniz Diego "
    "Dina Eduardo Efua Eileen Elif Elina Emeka Emil Emma Esra Eva Fatima Felix Femi Filip Finn Flora Freya Gabriel Gita "
    "Giulia Grace Hana Hannah Harun Heidi Hugo Ibrahim Ida Ilya Imani Ines Inga Isaac Isla Ivan Jamal Jana Jasper Joana "
    "Johan Jonas Josie Jude Julia Jun Kai Kamila Karim Katya Kenji Kira Kofi Lars Layla Lea Leila Lena Leo Lina Linh "
    "Lucia Lukas Luna Mads Maja Malik Mara Marco Mariam Marta Mateo Maya Mehmet Mei Mia Milan Mina Mira Nadia Naomi "
    "Nia Niko Nils Nina Noah Nora Odin Olga Oliver Omar Oskar Owen Pablo Paula Petra Pia Priya Rafael Rania Ravi Rosa "
    "Ruben Rui Ruth Sami Samira Sana Sara Selma Signe Simon Sofia Soren Stella Sven Tara Tariq Tessa Theo Thi Tomas "
    "Uma Valentina Vera Viktor Wanda Wei Yara Yasmin Yuki Yusuf Zara Zeynep Zoë"
)
_LAST = _split(
    "Abara Adeyemi Ahlberg Aksoy Almeida Amin Andrade Arslan Bakker Banerjee Barros Becher Benali Berglund Bianchi Boateng "
    "Borowski Brandt Brennan Byrne Carvalho Castellan Cerny Chaudhry Clarke Costa Dahl Danso Delgado Demir Diallo Dietz "
    "Dobrev Doyle Duarte Eklund Engel Eriksen Esposito Faber Farouk Feld Ferreira Fischer Fontaine Fraser Fujita Gallo "
    "Garrido Grant Greco Gupta Haas Haddad Hagen Halvorsen Hansen Hartley Hassan Heikkinen Herrera Hoang Holm Horvat "
    "Hughes Ibarra Iversen Jansen Jimenez Juric Kaya Keller Khan Kimura Kovac Kowal Kruger Kumar Lang Larsen Laurent "
    "Lehto Lindqvist Lombardi Lopes Mahlaba Malik Marchetti Marin Mensah Meyer Mishra Moreau Moreno Murphy Nakata Navarro "
    "Neumann Nguyen Nilsen Novak Nowicki Obi Okafor Olsen Ortega Osei Ozturk Palmer Park Patel Pereira Petrov Popescu "
    "Quinn Ramos Rao Reyes Ricci Rinaldi Rojas Romero Rossi Ruiz Saito Salgado Santos Sato Schaefer Serrano Shah Silva "
    "Sorensen Stein Strand Suarez Svoboda Takeda Tanaka Torres Toth Tran Urban Valente Vargas Vidal Vogel Walsh Weber "
    "Wieser Wong Yildiz Zeller Ziegler"
)
_HOBBIES = _split(
    "reads bakes runs travels plays paints hikes cooks films learns sews rides writes sings gardens surfs knits codes"
)
_PREFIXES = _split("its just the_real hello only mrs team missing")


_NUMBERS = tuple(number for number in range(100) if number not in {14, 18, 69, 88})  # some are signals


class Person(NamedTuple):
    """`handle` has no leading @; `salutation` is how a reply addresses the person."""

    name: str
    handle: str
    salutation: str


@functools.lru_cache(maxsize=1)
def community() -> tuple[Person, ...]:
    """Return the people that all data sets draw from; the same in every process."""
    rng = random.Random("community")
    pairs = rng.sample(range(len(_FIRST) * len(_LAST)), COMMUNITY)
    return tuple(_person(_FIRST[pair % len(_FIRST)], _LAST[pair // len(_FIRST)], rng) for pair in pairs)


def slug(name: str) -> str:
    """Return the letters and digits of a name in lower case without accents, as platforms allow them in handles."""
    plain = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in plain.lower() if letter.isascii() and letter.isalnum())


def _person(first: str, last: str, rng: random.Random) -> Person:
    f, l_ = slug(first), slug(last)
    year = rng.choice(_NUMBERS)
    handle = rng.choice(
        (
            f"{f}.{l_}",
            f"{f}{l_}",
            f"{f}_{l_}",
            f"{f}{l_}{year:02}",
            f"{f}.{l_[0]}{year:02}",
            f"{l_}.{f}",
            f"{f[0]}{l_}{year:02}",
            f"{rng.choice(_PREFIXES)}.{f}{l_[:3]}",
            f"{f}{rng.choice(_HOBBIES)}{year:02}",
            f"{f}_{l_[:2]}_{rng.choice(_HOBBIES)}",
        )
    )
    style = rng.random()
    if style < 0.45:
        return Person(f"{first} {last}", handle, first)
    if style < 0.65:
        return Person(f"{first} {last[0]}.", handle, first)
    if style < 0.75:
        return Person(first, handle, first)
    return Person(handle, handle, f"@{handle}")
