"""Language Rearrangement for `vector.VectorEnvironment`, its worlds stepped as arrays."""

from collections.abc import Sequence

import numpy as np

from llarp.environments.base import Environment
from llarp.environments.vector import Task, VectorEnvironment
from llarp.sim.batched.vector_env import RearrangementVectorEnv
from llarp.tasks.episode import Episode
from llarp.vision.views import ViewFeatures


class BatchedWorlds(VectorEnvironment):
    """N worlds of the embedded simulator."""

    def __init__(
        self,
        environment: Environment,
        episodes: Sequence[Episode],
        num_envs: int,
        features: ViewFeatures,
        seed_key: Sequence[int],
    ) -> None:
        """As `Environment.vector`."""
        camera, reward = environment.params.camera, environment.params.reward
        self._worlds = RearrangementVectorEnv(episodes, camera, reward, num_envs, "features", features)
        super().__init__(episodes, num_envs, features, seed_key, environment)

    def _begin(self, worlds: np.ndarray, numbers: list[int]) -> list[Task]:
        self._worlds.begin(worlds, numbers)
        return [Task(*self._worlds.rules.table.texts[number]) for number in numbers]

    def _act(self, actions_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._worlds.act(actions_N), self._worlds.success.copy()

    def _look(self, worlds: np.ndarray) -> np.ndarray:
        return self._worlds.look(worlds)

    def _num_invalid(self, world: int) -> int:
        return int(self._worlds.num_invalid[world])
