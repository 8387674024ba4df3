"""What evaluation may not share with training, split by split."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llarp.scenes.catalog import category
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Goal
from llarp.tasks.splits import SPLITS


@dataclass
class Seen:
    """What a set of training episodes contains."""

    episodes: set[tuple] = field(default_factory=set)
    layouts: set[str] = field(default_factory=set)
    wordings: set[str] = field(default_factory=set)
    categories: set[tuple[str, str]] = field(default_factory=set)
    """(family, held-out category asked for)."""
    families: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, training: Iterable[Episode]) -> "Seen":
        """Collects what training episodes contain."""
        seen = cls()
        for episode in training:
            seen.episodes.add(content(episode))
            seen.layouts.add(episode.layout)
            seen.wordings.add(episode.template)
            seen.categories.update(held_out(episode))
            seen.families.add(episode.family)
        return seen

    def leak(self, episode: Episode) -> str | None:
        """What of an evaluation episode training should not have contained, in words; None when all is well."""
        novelty = SPLITS[episode.split].novelty
        known = {
            "episode": content(episode) in self.episodes,
            "layout": episode.layout in self.layouts,
            "wording": episode.template in self.wordings,
            "category": not (pairs := set(held_out(episode))) or bool(pairs & self.categories),
            "family": episode.family in self.families,
        }
        return f"{novelty} of {episode.episode_id} is not new" if known[novelty] else None


def content(episode: Episode) -> tuple:
    """What makes two episodes the same: instruction, layout, how things stand at the start, and the goal."""
    return episode.instruction, episode.layout, episode.objects, episode.start, str(episode.goal)


def held_out(episode: Episode) -> Iterator[tuple[str, str]]:
    """(family, category) for every held-out category that the goal asks for."""
    return ((episode.family, kind) for kind in asked(episode.goal) if category(kind).held_out)


def asked(goal: Goal) -> Iterator[str]:
    """Categories of all variables of a goal, those of inner goals included."""
    yield from (kind for _, kind in goal.variables)
    for term in goal.terms:
        if isinstance(term, Goal):
            yield from asked(term)
