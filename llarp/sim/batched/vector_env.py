"""Language Rearrangement as a vector environment: N episodes stepped at once in one process, their state in arrays.

Registered as the vector entry point of `llarp/Rearrangement-v0`. Its states, rewards and views are those of
`RearrangementEnv`, step for step; see docs/gymnasium.md.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from llarp.config import CameraConfig, RewardConfig
from llarp.scenes.layouts import layout as layout_of
from llarp.sim import sight
from llarp.sim.batched.episode_table import EpisodeTable
from llarp.sim.batched.rules import NOBODY, BatchedRules
from llarp.sim.drawing.look_table import look_numbers
from llarp.sim.drawing.painter import Placement, painter
from llarp.sim.embedded import open_joints
from llarp.sim.env import Deck, some
from llarp.sim.rewards import step_reward
from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.skills import SKILLS

Draw = Callable[[np.ndarray], np.ndarray]
"""uint8[K, H, W, 3] views of the worlds of int64[K]."""


class Features(Protocol):
    """Who knows what views look like to an encoder, as `llarp.vision.views.ViewFeatures` does."""

    @property
    def shape(self) -> tuple[int, int]:
        """(P, D): tokens of a view, and numbers of a token."""

    def lookup(self, keys: np.ndarray, draw: Draw) -> np.ndarray:
        """float16[N, P, D] features of views by their keys, V16[N]; `draw` is given the places of those to draw."""


class RearrangementVectorEnv(gymnasium.vector.VectorEnv[dict[str, Any], np.ndarray, np.ndarray]):
    """N times one instruction, one head camera, 70 skills, 32 steps.

    Observation: `instruction`, int64[N] number of the episode whose instruction it is (`instructions` are the texts);
    with obs="image" also `image`, uint8[N, H, W, 3]; with obs="features" also `features`, float16[N, P, D].
    Action: int64[N], indices into `llarp.tasks.skills.SKILLS`.
    Reward: float64[N], see `llarp.sim.rewards`.
    Ends: terminated when the goal holds, truncated after `HORIZON` steps. The next episode then begins in the same
    step: observation and info are its first ones, the last ones of the old episode are in `final_obs`, `final_info`.
    Info: `success`, `progress` in [0, 1], `num_invalid` actions so far, `episode_index` of `episodes`.
    Reset: the episodes are dealt in an order that a seed decides; `options={"episodes": N numbers}` plays those.
    """

    metadata = {  # noqa: RUF012
        "autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"], "render_fps": 2,
    }  # fmt: skip

    def __init__(
        self,
        episodes: Sequence[Episode],
        camera: CameraConfig,
        reward: RewardConfig,
        num_envs: int = 1,
        obs: Literal["none", "image", "features"] = "none",
        features: Features | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Args:
        episodes: at least one; read one by one when they are first played.
        camera: of the embedded simulator.
        reward: weights of the rewards.
        num_envs: N.
        obs: what is observed beside the instruction.
        features: of views; needed for obs="features".
        render_mode: rgb_array or None.

        Raises:
            UserError: when there is no episode.

        """
        self.episodes, self.reward, self.num_envs = some(episodes), reward, num_envs
        self.obs, self.features, self.render_mode = obs, features, render_mode
        self.painter = painter(camera)
        self.looks = obs != "none" or render_mode is not None
        self.rules = BatchedRules(EpisodeTable(self.episodes, self.painter.camera if self.looks else None), num_envs)
        spaces: dict[str, gymnasium.Space[Any]] = {"instruction": gymnasium.spaces.Discrete(len(self.episodes))}
        if obs == "image":
            spaces["image"] = gymnasium.spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        elif obs == "features":
            assert features is not None, "obs='features' needs features"
            spaces["features"] = gymnasium.spaces.Box(-np.inf, np.inf, features.shape, np.float16)
        self.single_observation_space = gymnasium.spaces.Dict(spaces)
        self.single_action_space = gymnasium.spaces.Discrete(len(SKILLS))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._deck: Deck | None = None
        self._every = np.arange(num_envs)
        self.num_steps, self.num_invalid = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self.success = np.zeros(num_envs, bool)
        self._reached = np.zeros((num_envs, 1), bool)
        """[N, G] subgoals ever reached; the first column, the goal's, stays False."""
        self._num_subgoals = np.zeros(num_envs, np.int64)

    @property
    def instructions(self) -> list[str]:
        """N texts."""
        return [self.rules.table.texts[number][2] for number in self.rules.number.tolist()]

    @property
    def episode_ids(self) -> list[str]:
        """N names of episodes."""
        return [self.rules.table.texts[number][0] for number in self.rules.number.tolist()]

    @property
    def progress(self) -> np.ndarray:
        """float64[N] share of the subgoals ever reached; 1 on success."""
        return np.where(self.success, 1.0, self._reached.sum(1) / np.maximum(self._num_subgoals, 1))

    def valid_actions(self) -> np.ndarray:
        """bool[N, 70] which skills are valid now: privileged."""
        return self.rules.valid_actions()

    def view_keys(self) -> np.ndarray:
        """V16[N] keys of what is seen now, equal to `Simulator.view_key`; zeros where nothing is looked at."""
        return sight.as_keys(self.rules.key_sums)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins N episodes: the next ones, or `options["episodes"]`; a seed decides the order anew."""
        super().reset(seed=seed)
        if seed is not None or self._deck is None:
            self._deck = Deck(len(self.episodes), [int(self.np_random.integers(2**63))])
        numbers = (options or {}).get("episodes")
        self.begin(self._every, self._deck.deal(self.num_envs) if numbers is None else numbers)
        return self._observation(self._every), self._info()

    def step(self, actions: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Tries one skill per world; worlds whose episode ends begin the next one."""
        assert self._deck is not None, "reset first"
        rewards = self.act(actions)
        terminations = self.success.copy()
        truncations = ~terminations & (self.num_steps >= HORIZON)
        is_ended = terminations | truncations
        final: dict[str, Any] = {}
        if is_ended.any():
            final, ended = self._final(is_ended), np.flatnonzero(is_ended)
            self.begin(ended, self._deck.deal(len(ended)))
        return self._observation(self._every), rewards, terminations, truncations, self._info() | final

    def begin(self, worlds: np.ndarray, numbers: Sequence[int]) -> None:
        """Begins K episodes in as many worlds, whatever was played there: what `reset` and `step` do by themselves."""
        self.rules.reset(worlds, numbers)
        num_goals = self.rules.table.goals.num_goals[numbers]
        if (more := num_goals.max() - self._reached.shape[1]) > 0:
            self._reached = np.pad(self._reached, ((0, 0), (0, more)))
        self._reached[worlds] = self.success[worlds] = False
        self._num_subgoals[worlds] = num_goals - 1
        self.num_steps[worlds] = self.num_invalid[worlds] = 0

    def act(self, actions: np.ndarray) -> np.ndarray:
        """float64[N] rewards of one skill per world: a `step` that ends no episode."""
        valid = self.rules.apply(np.asarray(actions))
        before = self.progress
        acted = np.flatnonzero(valid)  # an invalid skill changes nothing
        hold = self.rules.hold(acted, self._reached.shape[1])
        self.success[acted] |= hold[:, 0]
        self._reached[acted, 1:] |= hold[:, 1:]
        self.num_steps += 1
        self.num_invalid += ~valid
        return step_reward(self.reward, self.progress - before, self.success, valid)

    def look(self, worlds: np.ndarray) -> np.ndarray:
        """float16[K, P, D] features of what is seen in some worlds now."""
        assert self.features is not None, "no features were given"
        keys = sight.as_keys(self.rules.key_sums[worlds])
        return self.features.lookup(keys, lambda places: self.draw(worlds[places]))

    def render(self) -> tuple[np.ndarray, ...] | None:
        """N images uint8[H, W, 3]; None without a render mode."""
        return tuple(self.draw(self._every)) if self.render_mode is not None else None

    def draw(self, worlds: np.ndarray) -> np.ndarray:
        """uint8[K, H, W, 3] what some worlds look like now; nothing of it is kept."""
        rules, layouts = self.rules, self.rules.table.layouts
        names = list(look_numbers())
        images = np.empty((len(worlds), self.painter.camera.height, self.painter.camera.width, 3), np.uint8)
        for image, world, shown, doors in zip(images, worlds, rules.shown(worlds), rules.doors(worlds), strict=True):
            layout, held = layouts.names[rules.layout[world]], rules.held[world]
            objects = rules.objects[world]
            placements = (Placement(*names[it["look"]], *it["place"].tolist()) for it in objects[shown])
            image[:] = self.painter.draw(
                layout_of(layout),
                sight.poses_of(layout)[rules.at[world]],
                open_joints(doors),
                sorted(placements),
                None if held == NOBODY else names[objects["look"][held]],
            )
        return images

    def _observation(self, worlds: np.ndarray) -> dict[str, Any]:
        observation: dict[str, Any] = {"instruction": self.rules.number[worlds]}
        if self.obs == "image":
            observation["image"] = self.draw(worlds)
        elif self.obs == "features":
            observation["features"] = self.look(worlds)
        return observation

    def _info(self, meant: np.ndarray | None = None) -> dict[str, Any]:
        """By gymnasium's custom every entry has a mask that says for which worlds it is meant; None: for all."""
        meant = np.ones(self.num_envs, bool) if meant is None else meant
        info = {
            "success": self.success.copy(), "progress": self.progress, "num_invalid": self.num_invalid.copy(),
            "episode_index": self.rules.number.copy(),
        }  # fmt: skip
        return info | {f"_{name}": meant for name in info}

    def _final(self, is_ended: np.ndarray) -> dict[str, Any]:
        """Last observation and info of the episodes that just ended."""
        ended, observations = np.flatnonzero(is_ended), np.full(self.num_envs, None, object)
        seen = self._observation(ended)
        for place, world in enumerate(ended):
            observations[world] = {name: values[place] for name, values in seen.items()}
        final = {"final_obs": observations, "final_info": self._info(is_ended)}
        return final | {f"_{name}": is_ended for name in final}
