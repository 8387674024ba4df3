"""What evaluation may not share with training, split by split; proved on whole data sets from a few columns."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from llarp.scenes.catalog import category
from llarp.tasks.data.columns import content
from llarp.tasks.data.store import Episodes
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Goal, parse
from llarp.tasks.splits import SPLITS

RULES = {
    "episode": "no training episode asks the same of the same apartment",
    "layout": "no training episode stands in its layout",
    "wording": "no training instruction is made from its wording, or reads the same",
    "category": "it asks for a held-out category that training never asks for in its family",
    "family": "no training episode is of its family",
}
"""What each novelty of a split means for every one of its episodes."""


class Facts(NamedTuple):
    """What the rules look at; each is a column of the store."""

    episode_id: str
    split: str
    family: str
    template: str
    instruction: str
    layout: str
    goal: str
    content: bytes

    @classmethod
    def of(cls, episode: Episode) -> "Facts":
        """The facts of one episode."""
        texts = (getattr(episode, name) for name in cls._fields[:6])
        return cls._make((*texts, str(episode.goal), content(episode)))


def facts(episodes: Episodes) -> Iterator[Facts]:
    """The facts of stored episodes; their objects are not read."""
    for table in episodes.tables(Facts._fields):
        yield from map(Facts, *(table.column(name).to_pylist() for name in Facts._fields))


@dataclass
class Seen:
    """What a set of training episodes contains."""

    contents: set[bytes] = field(default_factory=set)
    layouts: set[str] = field(default_factory=set)
    templates: set[str] = field(default_factory=set)
    instructions: set[str] = field(default_factory=set)
    categories: set[tuple[str, str]] = field(default_factory=set)
    """(family, held-out category asked for)."""
    families: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, training: Iterable[Facts]) -> "Seen":
        """Collects what training episodes contain."""
        seen = cls()
        for episode in training:
            seen.contents.add(episode.content)
            seen.layouts.add(episode.layout)
            seen.templates.add(episode.template)
            seen.instructions.add(episode.instruction)
            seen.categories.update(held_out(episode))
            seen.families.add(episode.family)
        return seen

    def leak(self, episode: Facts) -> str | None:
        """What of an evaluation episode training should not have contained, in words; None when all is well."""
        novelty = SPLITS[episode.split].novelty
        known = {
            "episode": episode.content in self.contents,
            "layout": episode.layout in self.layouts,
            "wording": episode.template in self.templates or episode.instruction in self.instructions,
            "category": not (pairs := held_out(episode)) or bool(pairs & self.categories),
            "family": episode.family in self.families,
        }
        return f"{novelty} of {episode.episode_id} is not new" if known[novelty] else None


def leaks(seen: Seen, episodes: Iterable[Facts]) -> list[str]:
    """What is wrong with the episodes of an evaluation split, in words; none of it when all is well."""
    return [leak for episode in episodes if (leak := seen.leak(episode)) is not None]


def repeated(episodes: Iterable[Facts]) -> list[str]:
    """Names of the episodes whose content another one before has had."""
    counts: Counter[bytes] = Counter()
    names = []
    for episode in episodes:
        counts[episode.content] += 1
        if counts[episode.content] > 1:
            names.append(episode.episode_id)
    return names


def held_out(episode: Facts) -> frozenset[tuple[str, str]]:
    """(family, category) for every held-out category that the goal asks for."""
    return frozenset((episode.family, kind) for kind in _asked(episode.goal) if category(kind).held_out)


@lru_cache(maxsize=100_000)
def _asked(goal: str) -> tuple[str, ...]:
    return tuple(asked(parse(goal)))


def asked(goal: Goal) -> Iterator[str]:
    """Categories of all variables of a goal, those of inner goals included."""
    yield from (kind for _, kind in goal.variables)
    for term in goal.terms:
        if isinstance(term, Goal):
            yield from asked(term)
