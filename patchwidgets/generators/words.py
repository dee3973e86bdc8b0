"""What the generators' sentences are made of."""

from __future__ import annotations


def listed(text: str, separator: str = " ") -> tuple[str, ...]:
    """Return the parts of a text: for long word lists."""
    return tuple(text.split(separator))


NAMES = listed(
    "John Tom James Dan Martin Joe David Paul Mark Peter Simon Adam Luke Jack Henry George "
    "Mary Anna Amy Alice Sarah Laura Emma Kate Jane Lucy Julia Clara Helen Ruth Rose Lisa"
)
PLACES = listed("store park school restaurant station office house garden library market museum hospital")
OBJECTS = listed("a drink|a book|a letter|a ring|a flower|a hat|the ball|the bag|the key|the map", "|")
# All of one form, so that a position means the same in every pair.
IOI_TEMPLATES = (
    "When {first} and {second} went to the {place}, {third} gave {object} to",
    "After {first} and {second} came to the {place}, {third} gave {object} to",
    "While {first} and {second} stayed at the {place}, {third} handed {object} to",
    "When {first} and {second} sat in the {place}, {third} offered {object} to",
)

# Single tokens of GPT-2 also without a space before them, as the first word of a prompt stands.
PLAIN = listed(
    "red blue green dog cat key sun moon bird fish stone cloud wind fire glass box chair door song coin leaf horse "
    "bear wolf ship gold ring rain wall river"
)

CAPITALS = {
    "Germany": "Berlin",
    "America": "Washington",
    "Canada": "Ottawa",
    "Poland": "Warsaw",
    "Britain": "London",
    "Russia": "Moscow",
    "Australia": "Canberra",
    "Greece": "Athens",
    "Italy": "Rome",
    "Portugal": "Lisbon",
    "Spain": "Madrid",
    "France": "Paris",
    "Austria": "Vienna",
    "Finland": "Helsinki",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "Delhi",
    "Egypt": "Cairo",
    "Norway": "Oslo",
}
# One country per language: two subjects never call for the same answer.
LANGUAGES = {
    "Germany": "German",
    "Poland": "Polish",
    "Russia": "Russian",
    "Greece": "Greek",
    "Italy": "Italian",
    "Portugal": "Portuguese",
    "Spain": "Spanish",
    "France": "French",
    "Finland": "Finnish",
    "Japan": "Japanese",
    "China": "Chinese",
    "Egypt": "Arabic",
    "Turkey": "Turkish",
    "Norway": "Norwegian",
}
LANDMARKS = {
    "Eiffel Tower": "Paris",
    "White House": "Washington",
    "Opera House": "Sydney",
    "Blue Mosque": "Istanbul",
    "Grand Canal": "Venice",
    "Buckingham Palace": "London",
    "Prague Castle": "Prague",
    "Brandenburg Gate": "Berlin",
    "Red Square": "Moscow",
    "Prado Museum": "Madrid",
    "Egyptian Museum": "Cairo",
}
LEADERS = {
    "Angela Merkel": "Germany",
    "Joe Biden": "America",
    "Boris Johnson": "Britain",
    "Boris Yeltsin": "Russia",
    "Tony Abbott": "Australia",
    "Mario Draghi": "Italy",
    "Pedro Sanchez": "Spain",
    "Emmanuel Macron": "France",
    "Justin Trudeau": "Canada",
    "Donald Tusk": "Poland",
}
RELATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "capital": ("The capital of {subject} is", CAPITALS),
    "language": ("The language of {subject} is", LANGUAGES),
    "landmark": ("The {subject} is in", LANDMARKS),
    "leader": ("{subject} is the leader of", LEADERS),
}

EVENTS = listed("war strike project festival trial peace drought reign voyage winter")
ARGUMENTS = listed(
    "load size files last name date count list node path text line mode time index width color range state field "
    "level order value group"
)
FUNCTIONS = listed("port open find sort make read draw send plan call")
NOTES = listed("oil dark unit piece crime total first public new old small main next common simple")
