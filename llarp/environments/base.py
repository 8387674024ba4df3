"""The seam between what the pipeline does and where it does it: an environment family.

A stage asks the environment for episodes, for something to play them in, and for what they are worth. A policy meets
none of this: it gets an instruction and features of images, and answers with the number of an action.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from llarp.config import EnvironmentName, Params
from llarp.sim.base import Playable
from llarp.sim.rewards import Tally
from llarp.vision.views import ViewFeatures

if TYPE_CHECKING:
    from llarp.environments.vector import VectorEnvironment


class AnyEpisode(Protocol):
    """What all episodes have in common."""

    @property
    def episode_id(self) -> str:
        """Unique within a data set."""

    @property
    def split(self) -> str:
        """A key of `Environment.splits`."""

    @property
    def family(self) -> str:
        """Kind of task."""

    @property
    def template(self) -> str:
        """Which wording the instruction was made from."""

    @property
    def instruction(self) -> str:
        """What is asked for."""

    @property
    def layout(self) -> str:
        """Where it is played: an apartment, a level, a mode of a game."""

    @property
    def plan(self) -> tuple[Any, ...]:
        """The expert's actions, proved to reach the goal within the horizon."""

    @property
    def demonstration(self) -> tuple[Any, ...]:
        """The actions that are cloned."""

    @property
    def recorded(self) -> tuple[Any, ...]:
        """Not empty for episodes of a public release."""


class Advice(Protocol):
    """What an expert would do now in an episode that somebody else plays."""

    action: Any
    """To be taken next; None when the expert has no advice."""

    def note(self, action: Any, valid: bool) -> None:
        """Takes in the action that was carried out just now, whoever chose it, and whether it was valid."""


Adviser = Callable[[Any], Advice]
"""Begins to give advice in a world that has been reset just now."""


class SplitFacts(Protocol):
    """What tables and reports say of a split."""

    @property
    def title(self) -> str:
        """Heading."""

    @property
    def changes(self) -> str:
        """What changes against training, in a few words."""

    @property
    def in_total(self) -> bool:
        """Whether the paper's Total averages over it."""

    @property
    def paper(self) -> Mapping[str, float]:
        """System to its success in percent in the paper; empty where the paper has none."""


@dataclass(frozen=True)
class OwnSplit:
    """A split that the paper does not have."""

    title: str
    changes: str
    in_total: bool = False
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment(ABC):
    """One environment family, set up by parameters. It can be sent to other processes."""

    params: Params

    name: ClassVar[EnvironmentName]
    """Value of the parameter `environment`."""
    title: ClassVar[str]
    """As one calls it."""
    actions: ClassVar[tuple[Any, ...]]
    """The action space: a policy answers with an index into it; `str(action)` is an action's name."""
    horizon: ClassVar[int]
    """Most actions of an episode."""
    splits: ClassVar[Mapping[str, SplitFacts]]
    """Every split in the order of tables; `train` first."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the actions, which a trained policy keeps."""
        return tuple(map(str, cls.actions))

    @classmethod
    def words(cls, action: Any) -> str:
        """An action as one would say it."""
        return str(action)

    @classmethod
    def is_in_paper(cls) -> bool:
        """Whether the paper has figures that results can stand beside."""
        return any(facts.paper for facts in cls.splits.values())

    @abstractmethod
    def generate(self, split: str, count: int, start: int = 0) -> Iterator[AnyEpisode]:
        """Episodes `start` to `start + count - 1` of a split, each with the plan that was proved to solve it.

        An episode depends on the seed, the split and its own number alone.
        """

    @abstractmethod
    def read(self, path: Path) -> Sequence[Any]:
        """The episodes of a split's folder, or of one file; UserError when they are missing or damaged."""

    @abstractmethod
    def write(self, path: Path, episodes: Iterable[Any]) -> None:
        """Writes episodes to one file, whole or not at all."""

    @abstractmethod
    def simulator(self) -> Playable:
        """Plays episodes and shows them; UserError when what it needs is not installed."""

    def world(self) -> Any:
        """Plays episodes for those who do not look: `reset` and `apply` suffice."""
        return self.simulator()

    @abstractmethod
    def progress(self, world: Any) -> Tally:
        """Counts what a world has reached since it was reset just now, and what that is worth."""

    def adviser(self) -> Adviser | None:
        """Who says in any state what the expert would do there; None where nobody can."""
        return None

    @classmethod
    def goes_about(cls, action: Any) -> bool:
        """Whether an action changes nothing but where one stands and looks."""
        return False

    def tour(self, episode: Any) -> tuple[Any, ...]:
        """Actions that lead from an episode's beginning past all that can be seen before anything is changed.

        What is seen is what is before each of them; so the last one is never carried out.
        """
        return self.actions[:1]

    def vector(
        self, episodes: Sequence[Any], num_envs: int, features: ViewFeatures, seed_key: Sequence[int]
    ) -> "VectorEnvironment":
        """Begins N episodes side by side, to be followed by others for as long as one plays.

        Args:
            episodes: at least one; each is played once before any is played again.
            num_envs: N.
            features: of what is seen; what it lacks is drawn and encoded.
            seed_key: numbers that are not negative and decide the order: the seed, then the rank, so that every rank
                has its own.

        Raises:
            UserError: when there is no episode, or what a simulator needs is not installed.

        """
        from llarp.environments.vector import SingleWorlds

        return SingleWorlds(self, episodes, num_envs, features, seed_key)
