"""Word lists shared by several tasks."""

from __future__ import annotations

import random

from .text import listed

MEN = listed(
    "John Tom James Dan Sid Martin Joe David Paul Mark Peter Simon Adam Luke Jack Henry George Ben Sam Max "
    "Boris Donald Tony Mario"
)
WOMEN = listed(
    "Mary Anna Amy Alice Sarah Laura Emma Kate Jane Lucy Julia Clara Helen Ruth Rose Nina Eva Lisa Sophie Grace "
    "Angela Maria Diana Susan"
)
NAMES = MEN + WOMEN

SURNAMES = listed(
    "Smith Jones Brown Taylor Wilson Baker Miller Cooper Hill Ward Green King Young Walker Wood Reed Davis Clark "
    "Johnson Fisher Howard Major Clinton Bush"
)

PLACES = listed(
    "store park school shops restaurant station office house garden library market beach museum hospital farm "
    "kitchen river bank hotel church"
)

OBJECTS = listed(
    "a drink|a bottle of milk|a bottle of water|a cup of tea|the bag|the ball|an apple|a book|a letter|the key|"
    "a ring|a flower|the map|some bread|a box of chocolate|a glass of wine|the phone|a picture|a hat|an orange|"
    "the ticket|a present|the guitar|a basket of fruit",
    "|",
)

# Opening remarks without people: they move the task along the positions and are never its evidence.
REMARKS = listed(
    "It was a sunny day.|The weather was cold.|It was late.|Then,|One day,|Yesterday,|Today,|In the morning,|"
    "Last summer,|After a long week,|The sky was blue and the sun was warm.|Nobody knew why, but|"
    "It was a very quiet evening in the old town.",
    "|",
)

# First words of sentences that lose their capital after a remark such as "Yesterday,".
_COMMON = frozenset(
    listed("When After While Since Because Friends Once The Before Last At Everyone Many People In To You")
)
COMMON_LOWER = frozenset(word.lower() for word in _COMMON)


def introduce(rng: random.Random, text: str, share: float) -> str:
    """Put a remark before a share of the texts."""
    if rng.random() >= share:
        return text
    remark, (head, rest) = rng.choice(REMARKS), text.split(" ", 1)
    if not remark.endswith(".") and head in _COMMON:
        text = f"{head.lower()} {rest}"
    return f"{remark} {text}"
