"""How fast batched episodes are stepped: `python benchmarks/batched.py`, with `--json` as one JSON object.

Episodes of all splits; half of the actions are drawn among the valid ones, half among all 70; resets, rewards, goals
and infos included. Figures are medians of environment steps per second of CPU time of one process with one thread, so
that what else runs on the machine counts little; ratios are of the same run.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

EPISODES_PER_SPLIT, NUM_ENVS, STEPS, REPEATS = 50, 256, 200, 5
TOKENS, DIM = 1, 512
"""Shape of a view's features, as the default encoder's."""


class Keys:
    """Features that are all zero; remembers which views were asked for."""

    shape = (TOKENS, DIM)

    def __init__(self) -> None:
        self.asked: list[np.ndarray] = []

    def lookup(self, keys: np.ndarray, draw: object) -> np.ndarray:
        """float16[N, P, D] zeros."""
        self.asked.append(keys)
        return np.zeros((len(keys), *self.shape), np.float16)


class NoEncoder:
    """Of the features' shape; encodes nothing."""

    identity, num_tokens, dim = "0" * 64, TOKENS, DIM

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Not to be called: every view is known."""
        raise AssertionError(f"{len(images)} views were not in the store")


def steps_per_s(steps: int, work: Callable[[], object]) -> float:
    """Median over repetitions; the first, which warms up, does not count."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return steps / statistics.median(times[1:])


def record(envs, steps: int) -> np.ndarray:
    """int64[T, N] actions, half of them drawn among the valid ones."""
    rng, actions = np.random.default_rng(0), []
    envs.reset(seed=0)
    for _ in range(steps):
        valid = envs.valid_actions()
        among = valid | (rng.random(len(valid)) < 0.5)[:, None]
        actions.append((rng.random(valid.shape) * among).argmax(1))
        envs.step(actions[-1])
    return np.array(actions)


def play(envs, actions: np.ndarray) -> None:
    """The recorded episodes again."""
    envs.reset(seed=0)
    for entry in actions:
        envs.step(entry)


def batched(params, episodes) -> dict[str, float]:
    """Without looking, and with the features of every view from a mapped store that has them all."""
    from llarp.sim.batched.episode_table import EpisodeTable
    from llarp.sim.batched.vector_env import RearrangementVectorEnv
    from llarp.vision.store import ShardStore
    from llarp.vision.views import ViewFeatures

    def make(num_envs: int, **options) -> RearrangementVectorEnv:
        return RearrangementVectorEnv(episodes, params.camera, params.reward, num_envs, **options)

    figures = {}
    for num_envs in (8, 32, NUM_ENVS):
        envs = make(num_envs)
        actions = record(envs, STEPS)
        figures[f"batched_{num_envs}"] = steps_per_s(actions.size, lambda: play(envs, actions))  # noqa: B023
    keys = Keys()
    play(make(NUM_ENVS, obs="features", features=keys), actions)
    with tempfile.TemporaryDirectory() as folder:
        with ShardStore.create(Path(folder) / "store", NoEncoder()) as store:
            known = np.unique(np.concatenate(keys.asked))
            store.add(known, np.zeros((len(known), TOKENS, DIM), np.float16))
        views = ViewFeatures(NoEncoder(), ShardStore.open(Path(folder) / "store"))
        envs = make(NUM_ENVS, obs="features", features=views)
        figures[f"features_{NUM_ENVS}"] = steps_per_s(actions.size, lambda: play(envs, actions))
        figures["views_in_store"] = len(known)
    table = EpisodeTable(episodes, envs.painter.camera)
    for episode in episodes:
        table.layouts.number(episode.layout)
    start = time.process_time()
    for first in range(0, len(episodes), 64):
        table.compile(range(first, min(first + 64, len(episodes))))
    figures["episodes_compiled_per_s"] = len(episodes) / (time.process_time() - start)
    return figures


def single(params, episodes, num_steps: int = 6000) -> float:
    """Steps per second of one RuleWorld after the other, the same mixture of actions."""
    from llarp.sim.rewards import Progress
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.episode import HORIZON
    from llarp.tasks.skills import SKILLS

    rng, world = np.random.default_rng(0), RuleWorld()

    def choose(step: int):
        among = [skill for skill in SKILLS if world.is_valid(skill)] if rng.random() < 0.5 else SKILLS
        return among[rng.integers(len(among))]

    def run(action) -> list:
        deck, progress, actions = iter(episodes), None, []
        for step in range(num_steps):
            if progress is None or progress.success or progress.num_steps == HORIZON:
                world.reset(next(deck))
                progress = Progress(world, params.reward)
            actions.append(action(step))
            progress.step(world.apply(actions[-1]))
        return actions

    recorded = run(choose)
    return steps_per_s(num_steps, lambda: run(recorded.__getitem__))


def minigrid(num_steps: int = 4000) -> float:
    """Steps per second of a BabyAI task, random actions."""
    import gymnasium
    import minigrid  # noqa: F401

    env = gymnasium.make("BabyAI-GoToLocal-v0")
    actions = np.random.default_rng(0).integers(env.action_space.n, size=num_steps)

    def work() -> None:
        env.reset(seed=0)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every room that it throws away
        return steps_per_s(num_steps, work)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    from llarp.config import load_params
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate
    from llarp.tasks.splits import SPLITS

    params, world = load_params(), RuleWorld()
    episodes = [
        episode
        for split in SPLITS
        for episode in generate(split, EPISODES_PER_SPLIT, params.seed, params.episodes, world=world)
    ]
    figures = batched(params, episodes)
    figures["rule_world"], figures["minigrid"] = single(params, episodes), minigrid()
    for name in (f"batched_{NUM_ENVS}", f"features_{NUM_ENVS}"):
        for other in ("rule_world", "minigrid"):
            figures[f"{name}_over_{other}"] = figures[name] / figures[other]
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{len(episodes)} episodes of {len(SPLITS)} splits; steps per second unless the name says otherwise")
    for name, value in figures.items():
        print(f"{name:<34}{value:>12,.1f}")


if __name__ == "__main__":
    main()
