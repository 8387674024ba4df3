"""A whole training, inside each rank: cloning, reinforcement learning, or one after the other."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llarp.config import Params, PPOConfig, flatten
from llarp.environments.base import AnyEpisode, Environment
from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm, Share
from llarp.learn.checkpoint import Checkpoints, check_writable
from llarp.learn.cloning import Cloning, sample_features
from llarp.learn.dagger import Mixture, collect
from llarp.learn.demonstrations import Demonstrations
from llarp.learn.ppo import PPO
from llarp.learn.rollout import Collector
from llarp.learn.trainer import OnMetrics, Trainer
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy
from llarp.progress import Progress
from llarp.ranks import Ranks
from llarp.vision.base import Encoder, FeatureStore
from llarp.vision.layered import Layered
from llarp.vision.memory import MemoryStore
from llarp.vision.views import ViewFeatures

_OWN = {"address", "keep_checkpoints", "log_every", "prefix_cache_gib"}
"""Parameters in which the machines of one training may differ."""

_UNIMPORTANT = _OWN | {"checkpoint_every", "machines"}
"""Parameters that change nothing of what is learnt: a training goes on with other ones."""

_DECISIVE = ("seed", "environment", "simulator", "camera", "reward", "policy", "train", "ppo")
"""Sections that every machine must have alike."""


@dataclass(frozen=True)
class Shown:
    """What there is to learn from."""

    demonstrations: Demonstrations
    store: FeatureStore
    """Features of all their views."""
    token_shape: tuple[int, int]
    """(P, D) of the features."""


@dataclass(frozen=True)
class Playground:
    """Where there is something to learn by doing."""

    environment: Environment
    episodes: Sequence[AnyEpisode]
    encoder: Encoder
    store: FeatureStore
    """Features of views that were encoded before; never written to."""
    overlay: FeatureStore
    """Features of other views, kept from run to run; written to."""
    digest: str
    """Of the episodes, the encoder and whatever else decides what can be met."""


def train(
    params: Params,
    shown: Shown,
    playground: Playground | None,
    out: Path,
    on_metrics: Callable[[str], OnMetrics],
    checkpoints: Path,
    ranks: Ranks | None = None,
) -> None:
    """Trains adapters and saves the policy; runs inside each rank.

    An interrupted training goes on from its last checkpoint and ends with the very weights of an uninterrupted one
    (on a CPU, with as many ranks and without preemption). Other parameters, another seed or data set start anew.

    Args:
        params: sections `train`, `ppo`, `policy` and `seed`.
        shown: every rank gets all of it and takes its share.
        playground: needed for reinforcement learning and DAgger.
        out: folder of the saved policy; replaced.
        on_metrics: given the name of a phase, who gets its figures on the first rank.
        checkpoints: folder, with one folder for each phase. They are removed when the policy has been saved.
        ranks: all that train together; None: they meet here.

    Raises:
        UserError: the number of ranks is not `train.processes`, machines have other parameters, code or data than the
            first, a feature is missing, an instruction is too long, a folder cannot be written, the backbone is
            missing or has other weights, or learning has failed. Every rank raises it alike.
        SystemExit: the process was asked to end; a checkpoint has been written.

    """
    ranks = ranks or Ranks.meet(params.train)
    _compare(params, ranks)

    def prepare() -> _Training:
        if not shown.demonstrations:
            raise UserError("there is nothing to learn from", "demonstrations", "raise episodes.train")
        for folder in (out.parent, checkpoints):
            check_writable(folder)
        return _Training(params, shown, playground, on_metrics, checkpoints, ranks)

    training = ranks.alike(prepare)
    phases = params.train.algorithm.split("+")
    if "bc" in phases:
        training.clone()
        for number in range(params.train.dagger_rounds):
            training.correct(number)
    if "ppo" in phases:
        training.reinforce(cloned="bc" in phases)
    ranks.alike(lambda: training.finish(out))


def _compare(params: Params, ranks: Ranks) -> None:
    """UserError when a machine differs from the first: its ranks and the others' would wait for each other in vain."""

    def refuse_other() -> None:
        for key, value in mine.items():
            if value != first.get(key):
                raise UserError(
                    f"is {value} here, but {first.get(key)} on the first machine", key,
                    "give every machine the same commit, params.yaml and data",
                )  # fmt: skip

    code = _code() if ranks.machines > 1 else ""
    alike = {name: value for name, value in flatten(params).items() if _is_decisive(*name.split("."))}
    mine = json.loads(json.dumps({**alike, "code": code}))
    first = json.loads(ranks.from_first(json.dumps(mine).encode() if ranks.is_first else None))
    ranks.alike(refuse_other)


def _is_decisive(section: str, key: str = "") -> bool:
    """Whether every machine must have a parameter alike."""
    return section in _DECISIVE and key not in _OWN


def _code() -> str:
    """Digest of this package: ranks that run different code may not even say the same things to each other."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


class _Training:
    """One policy and the phases that it goes through."""

    def __init__(
        self,
        params: Params,
        shown: Shown,
        playground: Playground | None,
        on_metrics: Callable[[str], OnMetrics],
        checkpoints: Path,
        ranks: Ranks,
    ) -> None:
        self.params, self.shown, self.playground, self.ranks = params, shown, playground, ranks
        self.on_metrics, self.checkpoints = on_metrics, checkpoints
        self.folders: list[Path] = []
        self.demonstrations, self.store = shown.demonstrations, shown.store
        torch.manual_seed(params.seed)  # every rank starts with the same adapters
        self.policy = LLaRPPolicy(
            load_backbone(params.policy),
            params.policy,
            shown.token_shape,
            prefix_bytes=int(params.train.prefix_cache_gib * 2**30),
            actions=shown.demonstrations.actions,
        ).to(ranks.device)
        self.identity: list[Any] = [
            self.policy.backbone.identity.sha256, params.policy.model_dump(),
            [shown.token_shape, shown.demonstrations.actions, params.seed, ranks.count],
        ]  # fmt: skip

    def clone(self) -> None:
        """Behaviour cloning."""
        share = Share(self.ranks.rank, self.ranks.count)
        config, seed = self.params.train, self.params.seed
        self._run("bc", config, Cloning(config, self.policy, self.demonstrations, self.store, seed, share))

    def correct(self, number: int) -> None:
        """A round of DAgger: the learner plays, and cloning goes on with what the expert would have done.

        Every rank plays all the episodes: what they are told must be the same, and features are not sent about.
        """
        ground, config, seed = self.playground, self.params.train, self.params.seed
        assert ground is not None, "DAgger needs a playground"
        views = ViewFeatures(ground.encoder, ground.store, MemoryStore(ground.encoder.num_tokens, ground.encoder.dim))
        rng = np.random.default_rng([seed, number])
        chosen = rng.permutation(len(ground.episodes))[: config.dagger_episodes]
        episodes = [ground.episodes[int(place)] for place in chosen]
        title = f"DAgger, round {number + 1}"
        bar = Progress(title, len(episodes), "episode") if self.ranks.is_first else nullcontext()
        with bar as progress:
            tell = progress.update if progress else lambda finished: None
            found = self.ranks.alike(
                lambda: collect(
                    self.policy, episodes, ground.environment, views, config.batch_size, Mixture(seed, number), tell
                )
            )
        self.demonstrations = Demonstrations([*self.demonstrations, *found], self.demonstrations.actions)
        self.store = Layered(self.store, views.overlay)
        again = config.model_copy(update={"epochs": config.dagger_epochs})
        share = Share(self.ranks.rank, self.ranks.count)
        cloning = Cloning(again, self.policy, self.demonstrations, self.store, seed + number + 1, share)
        self._run(f"dagger{number + 1}", again, cloning)

    def reinforce(self, cloned: bool) -> None:
        """PPO."""
        ground, config, seed = self.playground, self.params.ppo, self.params.seed
        assert ground is not None, "reinforcement learning needs a playground"
        views = ViewFeatures(ground.encoder, ground.store, ground.overlay)
        played = ground.environment.vector(ground.episodes, config.num_envs, views, (seed, self.ranks.rank))
        collector = Collector(self.policy, played, config.rollout_steps, ground.environment.horizon)
        ppo = PPO(
            config, self.policy, collector, ground.digest, seed, self.ranks, self._log_every(config), self._autocast(),
            views, None if cloned else self._sample,
        )  # fmt: skip
        try:
            self._run("ppo", config, ppo)
        finally:
            views.close()

    def finish(self, out: Path) -> None:
        """Saves the policy; its checkpoints are of no more use."""
        if self.ranks.is_first:
            self.policy.save(out)
            for folder in self.folders:
                shutil.rmtree(folder)

    def _run(self, phase: str, config: Any, algorithm: Algorithm) -> None:
        digest = self.ranks.alike(algorithm.validate)
        self.identity = [*self.identity, phase, config.model_dump(exclude=_UNIMPORTANT), digest]
        fingerprint = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()
        self._compare(phase, fingerprint)
        folder = self.checkpoints / phase
        self.folders.append(folder)
        kept = Checkpoints(folder, fingerprint, self.params.train.keep_checkpoints)
        on_metrics = self.on_metrics(phase)
        Trainer(self.policy.adapters, algorithm, self.ranks, kept, self.params.seed, on_metrics).run()

    def _compare(self, phase: str, fingerprint: str) -> None:
        """UserError when a rank would learn from something else than the first."""
        for rank, other in enumerate(told := self.ranks.gather(fingerprint)):
            if other != told[0]:
                machine = f"machine {self.ranks.machine(rank)}, " if self.ranks.machines > 1 else ""
                raise UserError(
                    "has other data or another backbone than the first", f"{machine}{phase}",
                    "give every machine the same commit, params.yaml and data",
                )  # fmt: skip

    def _sample(self) -> np.ndarray:
        """float16[N, P, D] features of demonstrations, to standardise by."""
        return sample_features(self.shown.demonstrations, self.shown.store)

    def _autocast(self) -> AbstractContextManager[Any] | None:
        return None if self.params.train.mixed_precision == "none" else self.ranks.accelerator.autocast()

    def _log_every(self, config: PPOConfig) -> int:
        """Updates between figures: about a thousand of them in all."""
        per_update = config.num_envs * config.rollout_steps * self.ranks.count
        return max(1, config.total_steps // per_update // 1000)
