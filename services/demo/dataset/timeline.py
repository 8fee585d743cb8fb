"""When things are published and when people react, in whole epoch seconds: fast, and never after `now`."""

from __future__ import annotations

import random

HOUR = 3_600
DAY = 24 * HOUR
SPAN = 180 * DAY

_HALF_LIFE = 9 * HOUR  # about where the first wave of reactions to an item ebbs away
_POSTING_HOURS = (7, 9, 11, 12, 15, 16, 17, 17, 18, 18, 19)
_BY_HOUR = (14, 9, 6, 5, 6, 10, 20, 32, 40, 46, 50, 55, 66, 62, 56, 56, 62, 72, 84, 96, 100, 90, 60, 30)
_BY_WEEKDAY = (0.82, 0.76, 0.78, 0.84, 0.82, 0.96, 1.0)  # from Monday

# Chance that a moment is kept, by hour of the week; the epoch was a Thursday.
RHYTHM = tuple(_BY_HOUR[hour % 24] / 100 * _BY_WEEKDAY[(hour // 24 + 3) % 7] for hour in range(7 * 24))
_TRIES = 4  # a moment nobody likes is kept in the end, so that there is always an answer


def publish_times(now: int, count: int, rng: random.Random) -> list[int]:
    """`count` moments in the last 180 days, evenly jittered, ascending, mostly at hours at which one posts."""
    times = []
    for index in range(count):
        moment = now - int(SPAN * (count - index - 0.9 * rng.random()) / count)
        usual = moment - moment % DAY + rng.choice(_POSTING_HOURS) * HOUR + rng.choice((0, 0, 0, 15, 30, 30, 45)) * 60
        usual += rng.randrange(60)
        times.append(usual if now - SPAN <= usual <= now - HOUR else moment)
    return sorted(times)


def reaction_time(published: int, now: int, rng: random.Random) -> int:
    """Return a time between `published` and `now`: soon after publication, with a long tail, by day and by week."""
    draw = rng.random
    reach = 1 + (now - published) / _HALF_LIFE
    moment = published
    for _ in range(_TRIES):
        moment = published + int(_HALF_LIFE * (reach ** draw() - 1))
        if draw() < RHYTHM[moment // HOUR % 168]:
            break
    return moment if moment <= now else now
