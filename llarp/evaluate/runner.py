"""Runs policies through episodes, many side by side, and tells how each episode went.

Which episodes share a batch follows from their order and `batch_size` alone, and on a CPU a view has the same features
whoever encodes it, and when. So the rows do not depend on which process took which batch; they depend on the batch size
no further than a batched matrix product rounds differently from a single one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llarp.environments.base import AnyEpisode, Environment
from llarp.errors import UserError
from llarp.evaluate.rows import Row, source
from llarp.policy.base import Policy
from llarp.vision.views import AFTER_SKILL, FIRST_VIEW, Lookups, ViewFeatures

POLICIES = ("policy", "blind", "random", "expert")
"""Who can be evaluated: the trained policy, the same with its features zeroed, chance, and the expert's plan."""


class _Run:
    """One episode under way."""

    def __init__(self, episode: AnyEpisode, world: Any, environment: Environment) -> None:
        world.reset(episode)
        self.episode, self.world, self.environment = episode, world, environment
        self.progress = environment.progress(world)
        self.actions: list[str] = []
        self.is_changed = False
        """Whether anything was done but to go about."""

    def step(self, action: Any) -> bool:
        """Carries out one action; returns whether the episode goes on."""
        self.progress.step(self.world.apply(action))
        self.is_changed |= not self.environment.goes_about(action)
        self.actions.append(str(action))
        return not self.progress.success

    def row(self, policy: str) -> Row:
        """The episode so far, as a result of a policy of that name."""
        episode, progress = self.episode, self.progress
        return Row(
            policy=policy, source=source(episode), split=episode.split, family=episode.family,
            template=episode.template, episode_id=episode.episode_id, layout=episode.layout,
            instruction=episode.instruction, success=progress.success, progress=progress.fraction,
            invalid_actions=progress.num_invalid, steps=progress.num_steps, reward=progress.total, actions=self.actions,
        )  # fmt: skip


def evaluate(
    policy: Policy,
    name: str,
    episodes: Sequence[AnyEpisode],
    views: ViewFeatures | None,
    environment: Environment,
    batch_size: int,
    on_progress: Callable[[int], None] = lambda finished: None,
) -> list[Row]:
    """Runs every episode until its goal holds or the horizon is reached.

    Args:
        policy: who decides.
        name: the policy's name in the rows.
        episodes: any mixture of splits and layouts.
        views: features of what is seen; may be None when `policy.uses_images` is False, and then nothing is drawn.
        environment: that the episodes belong to.
        batch_size: episodes side by side.
        on_progress: called with the number of episodes that a batch has finished.

    Returns:
        One row per episode, in the order of `episodes`.

    """
    rows: list[Row] = []
    worlds = [_world(policy, environment) for _ in range(min(batch_size, len(episodes)))]
    for first in range(0, len(episodes), batch_size):
        batch = episodes[first : first + batch_size]
        rows += [run.row(name) for run in _run_batch(policy, batch, worlds, views, environment)]
        on_progress(len(batch))
    return rows


def _world(policy: Policy, environment: Environment) -> Any:
    """A world that can be seen only if the policy looks."""
    return environment.simulator() if policy.uses_images else environment.world()


def _run_batch(
    policy: Policy,
    episodes: Sequence[AnyEpisode],
    worlds: Sequence[Any],
    views: ViewFeatures | None,
    environment: Environment,
) -> list[_Run]:
    # The last batch may be smaller than the number of worlds.
    runs = [_Run(episode, world, environment) for episode, world in zip(episodes, worlds, strict=False)]
    state = policy.start(episodes)
    running_B = np.ones(len(runs), bool)
    features_BPD: np.ndarray | None = None
    for _ in range(environment.horizon):
        slots = np.flatnonzero(running_B)
        if policy.uses_images:
            # Only running episodes are looked up, drawn and encoded; the others keep a feature that nobody reads.
            assert views is not None, "a policy that looks needs views"
            seen_KPD = views.features([runs[slot].world for slot in slots])
            views.note(np.array([AFTER_SKILL if runs[slot].is_changed else FIRST_VIEW for slot in slots]))
            if features_BPD is None:
                features_BPD = seen_KPD.copy()
            features_BPD[slots] = seen_KPD
        actions_B, state = policy.act(features_BPD, state, running_B)
        for slot in slots:
            running_B[slot] = runs[slot].step(environment.actions[actions_B[slot]])
        if not running_B.any():
            break
    return runs


@dataclass(frozen=True)
class Setup:
    """All that a process needs to evaluate by itself: it loads weights and features from their folders."""

    environment: Environment
    batch_size: int
    policy: Path | None = None
    """Folder of the trained policy; needed for `policy` and `blind`."""
    encoder: Path | None = None
    """Folder of the visual encoder; needed for `policy`."""
    features: Path | None = None
    """Folder of the feature store, read only; None when every view is to be encoded anew."""
    overlay: Path | None = None
    """Folder of features of other views, kept from run to run; None: they are forgotten."""
    overlay_bytes: int = 2**30
    """Its size, at most."""

    def load(self, name: str) -> tuple[Policy, ViewFeatures | None]:
        """The policy of that name and its eyes, if it has any; UserError when its folder is missing or wrong."""
        from llarp.policy.baselines import Blind, PlanPolicy, RandomPolicy

        if name == "random":
            return RandomPolicy(self.environment.params.seed, len(self.environment.actions)), None
        if name == "expert":
            return PlanPolicy(self.environment.actions), None
        if self.policy is None or name not in POLICIES:
            raise UserError(f"cannot evaluate {name!r}", "evaluate", f"give a policy folder and one of {POLICIES}")
        from llarp.policy.llarp import LLaRPPolicy

        policy = LLaRPPolicy.load(self.policy, actions=self.environment.names())
        return (policy, self.load_views()) if name == "policy" else (Blind(policy), None)

    def load_views(self) -> ViewFeatures:
        """Eyes: stored features where there are any, the encoder for the rest."""
        from llarp.vision.encoder import load_encoder
        from llarp.vision.memory import MemoryStore
        from llarp.vision.overlay import Overlay
        from llarp.vision.store import ShardStore

        if self.encoder is None:
            raise UserError("a policy that looks needs an encoder", "evaluate", "give the encoder's folder")
        encoder = load_encoder(self.encoder)
        empty = MemoryStore(encoder.num_tokens, encoder.dim)
        store = empty if self.features is None else ShardStore.open(self.features, encoder, verify=False)
        overlay = (
            None if self.overlay is None else Overlay.open(self.overlay, encoder, self.overlay_bytes, verify=False)
        )
        return ViewFeatures(encoder, store, overlay)


def evaluate_all(
    names: Sequence[str],
    episodes: Sequence[AnyEpisode],
    setup: Setup,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda finished: None,
    on_lookups: Callable[[Lookups], None] = lambda lookups: None,
) -> list[Row]:
    """Evaluates several policies on the same episodes, spread over processes.

    Args:
        names: of `POLICIES`.
        episodes: any mixture of splits.
        setup: folders and settings.
        workers: processes; with 1 everything happens in this one.
        on_progress: called with the number of episodes just finished.
        on_lookups: called with what came of looking up the views of some episodes.

    Returns:
        Rows by policy, then by episode, in the orders given, whatever the number of workers.

    """
    size = setup.batch_size
    jobs = [(name, episodes[first : first + size]) for name in names for first in range(0, len(episodes), size)]
    workers = min(workers, len(jobs))
    rows: list[Row] = []
    if workers <= 1:
        process = _Process(setup)
        try:
            for job in jobs:
                part, lookups = process.run(job)
                rows += part
                on_lookups(lookups)
                on_progress(len(job[1]))
        finally:
            process.close()
        return rows
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # threads of torch and MuJoCo do not survive a fork
    with ProcessPoolExecutor(workers, context, _begin, (setup,)) as pool:
        try:
            for job, (part, lookups) in zip(jobs, pool.map(_run_job, jobs), strict=True):
                rows += part
                on_lookups(lookups)
                on_progress(len(job[1]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows


class _Process:
    """What one process keeps between its jobs."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._loaded: dict[str, tuple[Policy, ViewFeatures | None]] = {}

    def run(self, job: tuple[str, Sequence[AnyEpisode]]) -> tuple[list[Row], Lookups]:
        name, episodes = job
        if name not in self._loaded:
            self._loaded[name] = self.setup.load(name)
        policy, views = self._loaded[name]
        before, setup = views.lookups if views else Lookups.none(), self.setup
        rows = evaluate(policy, name, episodes, views, setup.environment, setup.batch_size)
        return rows, (views.lookups - before if views else before)

    def close(self) -> None:
        """Keeps what was encoded."""
        for _, views in self._loaded.values():
            if views:
                views.close()


_process: _Process | None = None


def _begin(setup: Setup) -> None:
    """Prepares a worker process: one thread, for processes are what the machine is shared among."""
    global _process
    from multiprocessing.util import Finalize

    import torch

    torch.set_num_threads(1)
    _process = _Process(setup)
    Finalize(_process, _process.close, exitpriority=1)  # a worker process of a pool runs no `atexit`


def _run_job(job: tuple[str, Sequence[AnyEpisode]]) -> tuple[list[Row], Lookups]:
    assert _process is not None
    return _process.run(job)
