"""How texts are put together: each line is a weight and the pools whose picks, joined, make one text.

The pools are those `phrasing` fills: banks of a world, of its audience and of its reviewers.
"""

from __future__ import annotations

COMMENTS = {
    "positive": """
        3 praise_aspect
        4 praise
        3 open_pos praise
        3 praise close_pos
        2 open_pos praise_aspect
        2 praise_aspect close_pos
        2 praise praise_aspect
        1 open_pos praise_aspect close_pos
        2 short
    """,
    "neutral": """
        5 ask
        3 ask_aspect
        2 note
        1 fair_aspect
        1 note fair_aspect
        1 fair_aspect ask
    """,
    "negative": """
        3 gripe
        2 gripe_aspect
        3 open_neg gripe
        3 gripe close_neg
        2 gripe_aspect close_neg
        2 gripe gripe_aspect
        1 open_neg gripe_aspect close_neg
    """,
}

REVIEWS = {  # by stars
    1: """
        2 gripe bad
        2 open_neg gripe gripe_aspect
        1 gripe gripe_aspect close_neg
        1 open_neg gripe bad
        2 gripe bad harsh
        1 gripe gripe_aspect harsh
        1 harsh gripe
    """,
    2: """
        3 gripe bad
        2 open_neg gripe gripe_aspect
        2 gripe gripe_aspect close_neg
        1 open_neg gripe bad
        1 bad gripe_aspect close_neg
        1 gripe close_neg
    """,
    3: """
        2 lukewarm liked_aspect but_aspect
        2 lukewarm fair_aspect fair
        1 praise but_aspect
        1 fair_aspect fair
        1 lukewarm fair_aspect
        1 lukewarm fair
    """,
    4: """
        2 praise caveat
        2 said_aspect good caveat
        1 praise said_aspect caveat
        1 good said_aspect caveat
        1 praise fair_aspect
        1 good said_aspect
    """,
    5: """
        2 praise good
        2 praise said_aspect
        1 open_pos praise good
        1 open_pos said_aspect good close_pos
        1 open_pos praise said_aspect close_pos
        1 said_aspect good
        1 said_aspect praise
        1 good praise close_pos
        1 praise close_pos
        1 praise
    """,
}
