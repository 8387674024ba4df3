"""DAgger (Ross et al., AISTATS 2011): the learner acts, and the expert says what it would have done in its place.

Cloning sees states that the expert gets into, and a learner that errs gets into others. What `collect` returns is added
to the demonstrations, and the policy is trained again on all of them; that is one round.

Deviations: an episode ends where the expert is at a loss, and the caller chooses beta, which the paper lets decay.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llarp.environments.base import Adviser, AnyEpisode, Environment
from llarp.errors import UserError
from llarp.learn.demonstrations import Demonstration, Demonstrations
from llarp.policy.base import Policy
from llarp.vision.views import ViewFeatures


@dataclass(frozen=True)
class Mixture:
    """Who acts in a round."""

    seed: int
    round: int
    """From 0. Every round draws anew."""
    beta: float = 0.0
    """[0, 1] probability, at every step, that the expert's action is carried out instead of the learner's."""

    def rng(self, episode: AnyEpisode) -> np.random.Generator:
        """Random numbers of an episode: they depend on seed, round and episode, never on who shares its batch."""
        name = f"dagger/{self.seed}/{self.round}/{episode.episode_id}"
        return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


class _Run:
    """One episode under way."""

    def __init__(
        self, episode: AnyEpisode, world: Any, environment: Environment, adviser: Adviser, mixture: Mixture
    ) -> None:
        world.reset(episode)
        self.episode, self.world, self.mixture = episode, world, mixture
        self.progress, self.advice, self.rng = environment.progress(world), adviser(world), mixture.rng(episode)
        self.keys: list[bytes] = []
        self.advised: list[Any] = []
        self.taken: list[Any] = []

    def step(self, action: Any) -> bool:
        """Records the advice, carries out that or the learner's action; returns whether the episode goes on."""
        self.keys.append(self.world.view_key())
        self.advised.append(self.advice.action)
        if self.rng.random() < self.mixture.beta:
            action = self.advice.action
        self.taken.append(action)
        valid = self.world.apply(action)
        self.advice.note(action, valid)
        self.progress.step(valid)
        return not self.progress.success and self.advice.action is not None

    def demonstration(self, numbers: dict[Any, int]) -> Demonstration:
        """What was recorded, with actions by number."""
        return Demonstration(
            episode_id=f"{self.episode.episode_id}@{self.mixture.round}",
            instruction=self.episode.instruction,
            keys=self.keys,
            actions=[numbers[action] for action in self.advised],
            taken=[numbers[action] for action in self.taken],
        )


def collect(
    policy: Policy,
    episodes: Sequence[AnyEpisode],
    environment: Environment,
    views: ViewFeatures,
    batch_size: int,
    mixture: Mixture,
    on_progress: Callable[[int], None] = lambda finished: None,
) -> Demonstrations:
    """Lets a policy play and records the expert's advice at every step.

    Args:
        policy: the learner.
        episodes: of training.
        environment: that they belong to.
        views: features of what is seen. Its overlay must keep all that it is given: with
            `Layered(views.store, views.overlay)` the demonstrations can be cloned.
        batch_size: episodes side by side.
        mixture: how often the expert acts, and by which random numbers.
        on_progress: called with the number of episodes that a batch has finished.

    Returns:
        Ones with `taken` in the order of `episodes`, with ids as in `<episode>@<round>`. They end with success, at the
        horizon, or where the expert has no advice; an episode without any is left out.

    Raises:
        UserError: the environment has no adviser.

    """
    adviser = environment.adviser()
    if adviser is None:
        raise UserError(f"{environment.title} has no expert to ask in any state", "DAgger", "clone demonstrations only")
    numbers = {action: number for number, action in enumerate(environment.actions)}
    worlds = [environment.simulator() for _ in range(min(batch_size, len(episodes)))]
    found: list[Demonstration] = []
    for first in range(0, len(episodes), batch_size):
        batch = episodes[first : first + batch_size]
        # The last batch may be smaller than the number of worlds.
        runs = [_Run(*pair, environment, adviser, mixture) for pair in zip(batch, worlds, strict=False)]
        _play(policy, runs, views, environment)
        found += [run.demonstration(numbers) for run in runs if run.taken]
        on_progress(len(batch))
    return Demonstrations(found, environment.names())


def _play(policy: Policy, runs: Sequence[_Run], views: ViewFeatures, environment: Environment) -> None:
    """Plays every run to its end."""
    state = policy.start([run.episode for run in runs])
    running_B = np.array([run.advice.action is not None for run in runs])
    features_BPD = np.zeros((len(runs), *views.shape), np.float16)
    for _ in range(environment.horizon):
        slots = np.flatnonzero(running_B).tolist()
        if not slots:
            break
        # Looked up even for a policy that does not look: whoever clones this will.
        features_BPD[slots] = views.features([runs[slot].world for slot in slots])
        actions_B, state = policy.act(features_BPD, state, running_B)
        for slot in slots:
            running_B[slot] = runs[slot].step(environment.actions[actions_B[slot]])
