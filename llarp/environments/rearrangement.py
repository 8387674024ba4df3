"""Language Rearrangement as an environment family: the paper's benchmark."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llarp.config import EnvironmentName
from llarp.environments.base import Environment, SplitFacts
from llarp.sim.base import Playable
from llarp.sim.make import make_simulator
from llarp.sim.rewards import Progress
from llarp.sim.rules import RuleWorld
from llarp.tasks.advice import ExpertAdvice
from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.own_skills import own_skills
from llarp.tasks.skills import SKILLS, Skill, words
from llarp.tasks.splits import SPLITS
from llarp.vision.views import ViewFeatures

if TYPE_CHECKING:
    from llarp.environments.vector import VectorEnvironment


class Rearrangement(Environment):
    """An apartment, 70 skills, the paper's splits."""

    name: ClassVar[EnvironmentName] = "rearrangement"
    title: ClassVar[str] = "Language Rearrangement"
    actions: ClassVar[tuple[Skill, ...]] = SKILLS
    horizon: ClassVar[int] = HORIZON
    splits: ClassVar[Mapping[str, SplitFacts]] = SPLITS

    @classmethod
    def words(cls, action: Skill) -> str:
        """As in `go to the sofa`."""
        return words(action)

    @classmethod
    def goes_about(cls, action: Skill) -> bool:
        """Navigation."""
        return action.verb == "nav"

    def tour(self, episode: Episode) -> tuple[Skill, ...]:
        """To every standing point."""
        navigation = tuple(filter(self.goes_about, SKILLS))
        return (*navigation, navigation[0])

    def generate(self, split: str, count: int, start: int = 0) -> Iterator[Episode]:
        """See `llarp.tasks.generator.generate`."""
        from llarp.tasks.generator import generate

        return generate(split, count, self.params.seed, self.params.episodes, start, world=RuleWorld())

    def read(self, path: Path) -> Sequence[Episode]:
        """Opened, not read: see `llarp.tasks.data.store.Episodes`."""
        from llarp.tasks.data.store import Episodes

        return Episodes.open(path)

    def write(self, path: Path, episodes: Iterable[Episode]) -> None:
        """See `llarp.tasks.data.store.write`."""
        from llarp.tasks.data import store

        store.write(path, episodes)

    def simulator(self) -> Playable:
        """The simulator that the parameters name."""
        return make_simulator(self.params)

    def world(self) -> RuleWorld:
        """The rules without pictures."""
        return RuleWorld()

    def progress(self, world: Any) -> Progress:
        """Goal and subgoals of the episode."""
        return Progress(world, self.params.reward)

    def adviser(self) -> type[ExpertAdvice]:
        """The demonstrator."""
        return ExpertAdvice

    def vector(
        self, episodes: Sequence[Episode], num_envs: int, features: ViewFeatures, seed_key: Sequence[int]
    ) -> "VectorEnvironment":
        """See `Environment.vector`; stepped as arrays where rules alone say what a step does, and arrays know them."""
        if self.params.simulator.name != "embedded" or own_skills():
            return super().vector(episodes, num_envs, features, seed_key)
        from llarp.environments.batched import BatchedWorlds

        return BatchedWorlds(self, episodes, num_envs, features, seed_key)
