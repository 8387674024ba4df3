"""Training of the adapters: the same loop on one process and, under `accelerate launch`, on many.

Only the adapters have gradients, so only they are summed over the ranks: one reduction per step carries the gradients
of summed losses together with the number of samples, which makes the mean right however unevenly samples fall. Every
rank then takes the same optimiser step from the same start.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from llarp.config import PolicyConfig, TrainConfig
from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm, Share
from llarp.learn.checkpoint import Checkpoints, check_writable
from llarp.learn.cloning import Cloning
from llarp.learn.demonstrations import Demonstrations
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy
from llarp.progress import Progress
from llarp.vision.base import FeatureStore

OnMetrics = Callable[[int, dict[str, float]], None]


def train(
    config: TrainConfig,
    policy_config: PolicyConfig,
    demonstrations: Demonstrations,
    store: FeatureStore,
    token_shape: tuple[int, int],
    out: Path,
    seed: int,
    on_metrics: OnMetrics,
    checkpoints: Path | None = None,
) -> Path:
    """Trains adapters and saves the policy; runs inside each rank.

    An interrupted training goes on from its last checkpoint and ends with the very weights of an uninterrupted one
    (on a CPU, with as many ranks). Another configuration, seed or data set starts anew.

    Args:
        config: section `train`.
        policy_config: section `policy`.
        demonstrations: what to clone; every rank gets all of them and takes its share.
        store: features of all their views.
        token_shape: (P, D) of the features.
        out: folder of the saved policy; replaced.
        seed: of weights, order and everything else.
        on_metrics: called on rank 0 with the step (from 1) and figures by name.
        checkpoints: folder for checkpoints; None puts them beside `out`, as `<out>.checkpoints`. They are removed
            when the policy has been saved.

    Returns:
        `out`.

    Raises:
        UserError: the number of ranks is not `config.processes`, a feature is missing, an instruction is too long, a
            folder cannot be written, the backbone is missing or has other weights, or the loss is no longer finite.
            Every rank raises it alike.

    """
    if not demonstrations:
        raise UserError("there is nothing to learn from", "demonstrations", "raise episodes.train")
    accelerator = Accelerator()
    if accelerator.num_processes != config.processes:
        raise UserError(
            f"{config.processes} processes wanted, {accelerator.num_processes} running",
            "train.processes",
            "start it with the command of llarp.learn.launch",
        )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(1)
    share = Share(accelerator.process_index, accelerator.num_processes)
    checkpoints = checkpoints or out.with_name(f"{out.name}.checkpoints")
    for folder in (out.parent, checkpoints):
        check_writable(folder)

    torch.manual_seed(seed)  # every rank starts with the same adapters
    policy = LLaRPPolicy(
        load_backbone(policy_config),
        policy_config,
        token_shape,
        prefix_bytes=int(config.prefix_cache_gib * 2**30),
        actions=demonstrations.actions,
    ).to(accelerator.device)
    algorithm = Cloning(config, policy, demonstrations, store, seed, share)
    identity = [
        config.model_dump(exclude={"checkpoint_every", "keep_checkpoints", "log_every", "prefix_cache_gib"}),
        policy.backbone.identity.sha256,
        policy_config.model_dump(),
        [token_shape, demonstrations.actions, seed, share.ranks, algorithm.validate()],
    ]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    kept = Checkpoints(checkpoints, fingerprint, config.keep_checkpoints)
    Trainer(config, policy.adapters, algorithm, accelerator, kept, seed, on_metrics).run()
    if accelerator.is_main_process:
        policy.save(out)
        kept.clear(all_trainings=True)
    accelerator.wait_for_everyone()
    return out


class Trainer:
    """Optimiser, schedule, checkpoints and logging; what is learnt from comes from the algorithm."""

    def __init__(
        self,
        config: TrainConfig,
        adapters: torch.nn.Module,
        algorithm: Algorithm,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        seed: int,
        on_metrics: OnMetrics,
    ) -> None:
        self.config, self.adapters, self.algorithm, self.accelerator = config, adapters, algorithm, accelerator
        self.checkpoints, self.seed, self.on_metrics = checkpoints, seed, on_metrics
        self.parameters = list(adapters.parameters())
        matrices = [parameter for parameter in self.parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in self.parameters if parameter.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=config.lr,
            eps=1e-5,  # as in the paper's release
        )

    def run(self) -> None:
        """All steps that are still to do."""
        first = self.checkpoints.restore(self.adapters, self.optimizer)
        if first == 0:
            self.algorithm.prepare()
        self.accelerator.wait_for_everyone()  # before rank 0 removes what the others have read
        main, total = self.accelerator.is_main_process, self.algorithm.num_steps
        if main:
            self.checkpoints.clear()
        meter = Meter(self.algorithm.metric_names)
        with Progress("Training", total, "step") if main else nullcontext() as progress:
            if progress:
                progress.update(first)
            for step in range(first, total):
                lr = learning_rate(step, total, self.config)
                sums, grad_norm = self._step(step, lr)
                means = meter.add(sums)
                done = step + 1
                if main and (done % self.config.log_every == 0 or done == total):
                    self.on_metrics(done, {**meter.figures(), "optim/lr": lr, "optim/grad_norm": grad_norm})
                if main and (done % self.config.checkpoint_every == 0 or done == total):
                    self.checkpoints.save(done, self.adapters, self.optimizer)
                if progress:
                    progress.update(1, **means)

    def _step(self, step: int, lr: float) -> tuple[np.ndarray, float]:
        """One optimiser step; returns [frames, episodes, *metrics] summed over all ranks, and the gradient's norm."""
        random = np.random.SeedSequence([self.seed, step, self.accelerator.process_index])
        torch.manual_seed(int(random.generate_state(1)[0]))
        batch = self.algorithm.batch(step)
        episodes = self.algorithm.size(batch)
        self.optimizer.zero_grad()
        frames, metrics = 0, {}
        if episodes:
            sums = self.algorithm.loss(batch)
            sums.loss.backward()
            frames, metrics = sums.num_frames, sums.metrics
        totals = self._reduce([frames, episodes, *(metrics.get(name, 0.0) for name in self.algorithm.metric_names)])
        for parameter in self.parameters:
            parameter.grad /= totals[0]
        grad_norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        if not torch.isfinite(grad_norm):  # on every rank alike, and before the weights are lost
            raise UserError(f"loss or gradient of step {step + 1} is not finite", "train.lr", "lower it")
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        return totals, float(grad_norm)

    def _reduce(self, numbers: Sequence[float]) -> np.ndarray:
        """Sums gradients and numbers over the ranks, in one message; a parameter without gradient counts as zero."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        extra = torch.tensor(numbers, dtype=torch.float32, device=gradients[0].device)
        total = self.accelerator.reduce(torch.cat([*(gradient.flatten() for gradient in gradients), extra]), "sum")
        parts = total.split([gradient.numel() for gradient in gradients] + [len(numbers)])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        return parts[-1].double().cpu().numpy()


class Meter:
    """Means per frame and speeds since they were last asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._reset()

    def _reset(self) -> None:
        self._totals, self._start_s = np.zeros(2 + len(self.names)), time.perf_counter()

    def add(self, totals: np.ndarray) -> dict[str, float]:
        """Counts a step's [frames, episodes, *metrics]; returns its means, by the last part of their names."""
        self._totals += totals
        return {
            name.split("/")[-1]: float(total / totals[0]) for name, total in zip(self.names, totals[2:], strict=True)
        }

    def figures(self) -> dict[str, float]:
        """Means by name, frames and episodes per second; starts counting anew."""
        frames, episodes, *metrics = self._totals
        elapsed_s = time.perf_counter() - self._start_s
        self._reset()
        return {
            **{name: float(total / frames) for name, total in zip(self.names, metrics, strict=True)},
            "speed/frames_per_s": float(frames / elapsed_s),
            "speed/episodes_per_s": float(episodes / elapsed_s),
        }


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Rises linearly over the first `warmup` of the steps, then falls to zero along a cosine; `step` counts from 0."""
    warmup = config.warmup * total
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
