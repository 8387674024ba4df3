"""What planners, goals and rewards may ask of a place where skills happen."""

from abc import ABC, abstractmethod

from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate
from llarp.tasks.skills import Skill


class World(ABC):
    """A furnished apartment with a robot in it. Every simulator is one."""

    episode: Episode

    @abstractmethod
    def reset(self, episode: Episode) -> None:
        """Puts everything where the episode says; UserError when the layout is unknown."""

    @abstractmethod
    def is_valid(self, skill: Skill) -> bool:
        """Whether the skill's precondition holds now."""

    @abstractmethod
    def apply(self, skill: Skill) -> bool:
        """Carries the skill out if it is valid; returns whether it was. An invalid skill changes nothing."""

    @abstractmethod
    def holds(self, predicate: Predicate) -> bool:
        """Whether an atom without variables is true now."""

    @abstractmethod
    def instances(self, category: str) -> tuple[str, ...]:
        """Names of the episode's objects of a category, in the episode's order."""

    def stands(self, skill: Skill) -> frozenset[str]:
        """Navigation targets from which a skill that is valid now would do the same; none where a world cannot tell."""
        return frozenset()
