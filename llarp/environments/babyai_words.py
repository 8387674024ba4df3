"""BabyAI's missions: what they ask for, and the same said in other words."""

import re
from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
KINDS = ("ball", "box", "key", "door")
_COLOURED = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(KINDS)})\b")

_GO, _PICK, _PUT = "go_to", "pick_up", "put_next_to"
_FORMS = (
    (_GO, re.compile(r"go to (?P<x>.+)")),
    (_PICK, re.compile(r"pick up (?P<x>.+)")),
    (_PUT, re.compile(r"put (?P<x>.+) next to (?P<y>.+)")),
)
REPHRASINGS = {
    _GO: ("walk over to {x}", "find {x} and stop in front of it", "I want you to stand before {x}"),
    _PICK: ("take {x} into your hands", "grab {x}", "fetch {x} from where it lies"),
    _PUT: (
        "carry {x} over to {y} and lay it down beside it",
        "{x} belongs beside {y}: bring it there",
        "leave {x} right by {y}",
    ),
}
"""Wordings that training never shows, by kind of mission; {x} and {y} are named as the mission names them."""


@dataclass(frozen=True)
class Mission:
    """What a mission says."""

    family: str
    """go_to, pick_up or put_next_to."""
    slots: dict[str, str]
    """Descriptions of the objects, with their article: x, and for put_next_to y."""

    def combinations(self) -> set[tuple[str, str]]:
        """The (colour, kind) pairs that are named."""
        return {(m[1], m[2]) for text in self.slots.values() for m in _COLOURED.finditer(text)}

    def rephrased(self, number: int) -> str:
        """The same task in the words of `REPHRASINGS[family][number]`."""
        return REPHRASINGS[self.family][number].format(**self.slots)


def parse(mission: str) -> Mission:
    """Takes a mission apart; ValueError for one of another form."""
    for family, form in _FORMS:
        if match := form.fullmatch(mission):
            return Mission(family, match.groupdict())
    raise ValueError(f"a mission of unknown form: {mission!r}")
