"""The loop of every training: the same on one process and, under `accelerate launch`, on many.

Only the adapters have gradients, so only they are summed over the ranks: one reduction per step carries the gradients
of summed losses together with the number of samples, which makes the mean right however unevenly samples fall. Every
rank then takes the same optimiser step from the same start.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

import numpy as np
import torch

from llarp.errors import UserError
from llarp.learn.algorithm import Algorithm
from llarp.learn.checkpoint import Checkpoints, Saved, from_bytes, load_snapshot, snapshot, to_bytes
from llarp.progress import Progress
from llarp.ranks import Ranks

OnMetrics = Callable[[int, dict[str, float]], None]
"""Called on the first rank with what has been done so far and figures by name."""


class Trainer:
    """Optimiser, checkpoints and logging; what is learnt from comes from the algorithm."""

    def __init__(
        self,
        adapters: torch.nn.Module,
        algorithm: Algorithm,
        ranks: Ranks,
        checkpoints: Checkpoints,
        seed: int,
        on_metrics: OnMetrics,
    ) -> None:
        self.adapters, self.algorithm, self.ranks = adapters, algorithm, ranks
        self.checkpoints, self.seed, self.on_metrics = checkpoints, seed, on_metrics
        self.parameters = [parameter for parameter in adapters.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in self.parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in self.parameters if parameter.ndim <= 1]
        decay = algorithm.optimisation.weight_decay
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
            eps=1e-5,  # as in the paper's release
            fused=True,
        )

    def run(self) -> None:
        """All updates that are still to do.

        Raises:
            UserError: a loss or gradient is not finite, or the algorithm gives up. Every rank raises it alike.
            SystemExit: a rank was asked to end (SIGTERM or Ctrl-C); a checkpoint has been written.

        """
        algorithm, first = self.algorithm, self._restore()
        if first == 0:
            self._begin()
        meter, update = Meter(algorithm.metric_names), first
        done, total = algorithm.progress
        bar = Progress(algorithm.title, total, "step") if self.ranks.is_first else nullcontext()
        with _heard_signals() as asked, bar as progress:
            if progress:
                progress.update(done)
            while done < total:
                figures, is_asked = self._update(update, meter, asked)
                update, before = update + 1, done
                done, _ = algorithm.progress
                last = done == total
                if self.ranks.is_first and (update % algorithm.log_every == 0 or last):
                    figures |= meter.figures(algorithm.prefix)
                    self.on_metrics(done, figures)
                if update % algorithm.checkpoint_every == 0 or last or is_asked:
                    self._save(update)
                if progress:
                    progress.update(done - before, **algorithm.shown(figures))
                if is_asked:
                    raise SystemExit(128 + signal.SIGTERM)

    def _update(self, update: int, meter: Meter, asked: list[int]) -> tuple[dict[str, float], bool]:
        """One update; returns its figures and whether any rank was asked to end."""
        algorithm = self.algorithm
        random = np.random.SeedSequence([self.seed, update, self.ranks.rank])
        torch.manual_seed(int(random.generate_state(1)[0]))
        lr, grad_norm, is_asked = algorithm.learning_rate(update), 0.0, False
        done = algorithm.progress[0]
        for number, batch in enumerate(algorithm.batches(update)):
            totals, grad_norm = self._step(batch, lr, bool(asked), f"update {update + 1}, optimiser step {number + 1}")
            is_asked |= totals[2] > 0
            if totals[0] and not algorithm.goes_on(meter.add(totals)):
                break
        means = meter.of_update()
        figures = algorithm.finish(means)
        meter.count(algorithm.progress[0] - done)
        optimiser = {f"{algorithm.prefix}optim/lr": lr, f"{algorithm.prefix}optim/grad_norm": grad_norm}
        return {**means, **figures, **optimiser}, is_asked

    def _step(self, batch: Any, lr: float, asked: bool, where: str) -> tuple[np.ndarray, float]:
        """One optimiser step; returns [frames, episodes, asked, *metrics] over all ranks, and the gradient's norm."""
        names = self.algorithm.metric_names
        episodes, frames, loss = self.algorithm.size(batch), 0, 0.0
        sums: Mapping[str, torch.Tensor | float] = {}
        self.optimizer.zero_grad()
        if episodes:
            result = self.algorithm.loss(batch)
            result.loss.backward()
            frames, sums, loss = result.num_frames, result.metrics, float(result.loss.detach())
        totals = self._reduce([frames, episodes, asked, *(float(sums.get(name, 0.0)) for name in names), loss])
        if not totals[0]:
            return totals[:-1], 0.0
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad /= totals[0]
        grad_norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.algorithm.optimisation.max_grad_norm)
        if not (np.isfinite(totals[-1]) and torch.isfinite(grad_norm)):
            # On every rank alike, and before weights are lost.
            what = "the gradient" if np.isfinite(totals[-1]) else "the loss"
            raise UserError(
                f"{what} is not finite", where, f"lower {self.algorithm.rate_key}; the last checkpoint is kept"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        return totals[:-1], float(grad_norm)

    def _reduce(self, numbers: Sequence[float]) -> np.ndarray:
        """Sums gradients and numbers over the ranks, in one message.

        A parameter without a gradient counts as zero beside ranks that have one. If none has, it stays without, so that
        the optimiser leaves it and its moments alone.
        """
        if self.ranks.count == 1:
            return np.array(numbers, np.float64)
        known = [float(parameter.grad is not None) for parameter in self.parameters]
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        extra = torch.tensor([*known, *numbers], dtype=torch.float32, device=gradients[0].device)
        total = self.ranks.sum(torch.cat([*(gradient.flatten() for gradient in gradients), extra]))
        *parts, known_by, sums = total.split([*(one.numel() for one in gradients), len(known), len(numbers)])
        for parameter, part, ranks in zip(self.parameters, parts, known_by.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if ranks else None
        return sums.double().cpu().numpy()

    def _begin(self) -> None:
        """Prepares a fresh training; all start with the first rank's numbers, as other machines may round otherwise."""
        self.ranks.alike(self.algorithm.prepare)
        if self.ranks.count > 1:
            state = to_bytes(self.adapters.state_dict()) if self.ranks.is_first else None
            self.adapters.load_state_dict(from_bytes(self.ranks.from_first(state)))

    def _restore(self) -> int:
        """Goes on from the newest checkpoint that the first rank has; returns its updates, 0 when there is none."""
        saved = self.checkpoints.newest() if self.ranks.is_first else None
        if self.ranks.is_first:
            self.checkpoints.clear()
        said = self.ranks.gather(saved and {"step": saved.step, "ranks": saved.ranks, "files": list(saved.files)})[0]
        if said is None:
            return 0
        files = {name: self.ranks.from_first(saved.files[name] if saved else None) for name in said["files"]}
        load_snapshot(Saved(said["step"], said["ranks"], files), self.adapters, self.optimizer)
        self.algorithm.restore(said["ranks"][self.ranks.rank])
        return int(said["step"])

    def _save(self, update: int) -> None:
        states = self.ranks.gather(self.algorithm.state())

        def save() -> None:
            if self.ranks.is_first:
                self.checkpoints.save(snapshot(update, states, self.adapters, self.optimizer))

        self.ranks.alike(save)


class Meter:
    """Means per frame and speeds since they were last asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._update = np.zeros(3 + len(names))
        self._reset()

    def _reset(self) -> None:
        self._totals, self._done, self._start_s = np.zeros(3 + len(self.names)), 0, time.perf_counter()

    def add(self, totals: np.ndarray) -> dict[str, float]:
        """Counts a step's [frames, episodes, asked, *metrics]; returns its means."""
        self._totals += totals
        self._update += totals
        return self._means(totals)

    def count(self, done: int) -> None:
        """Counts what an update has done, in the algorithm's unit."""
        self._done += done

    def of_update(self) -> dict[str, float]:
        """Means since this was last asked for."""
        means, self._update = self._means(self._update), np.zeros_like(self._update)
        return means

    def figures(self, prefix: str) -> dict[str, float]:
        """Means by name and speeds; starts counting anew."""
        elapsed_s = time.perf_counter() - self._start_s
        figures = {
            **self._means(self._totals),
            f"{prefix}speed/steps_per_s": self._done / elapsed_s,
            f"{prefix}speed/trained_frames_per_s": float(self._totals[0] / elapsed_s),
        }
        self._reset()
        return figures

    def _means(self, totals: np.ndarray) -> dict[str, float]:
        return {name: float(total / totals[0]) for name, total in zip(self.names, totals[3:], strict=True)}


@contextmanager
def _heard_signals() -> Iterator[list[int]]:
    """Notes signals instead of ending at once, so that a checkpoint can be written; the list then is not empty."""
    asked: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():  # where signals are not ours
        yield asked
        return
    # The launcher of ranks passes on what it gets itself: SIGINT on Ctrl-C.
    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
