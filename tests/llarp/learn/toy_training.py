"""Trainings small enough for tests: MiniLM or no backbone at all, narrow adapters, short episodes of random features.

Run as a module under `accelerate launch` it trains too:
`python -m toy_training OUT ALGORITHM PROCESSES [STOP_AT_STEP]`; STOP_AT_STEP kills the process.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from toy_world import ToyEncoder, ToyEnvironment

from llarp.config import load_params
from llarp.learn.demonstrations import Demonstration, Demonstrations
from llarp.learn.train import Playground, Shown, train
from llarp.vision.memory import MemoryStore

SHAPE = (1, 16)
ROOT = Path(__file__).resolve().parents[3]
NAMES = tuple(f"action {number}" for number in range(20))
BASE = load_params(ROOT / "params.yaml")
POLICY = BASE.policy.model_copy(update={"hidden": 32})
TRAIN = BASE.train.model_copy(
    update={"algorithm": "bc", "processes": 1, "epochs": 2.0, "batch_size": 8, "checkpoint_every": 3,
            "keep_checkpoints": 2, "log_every": 1, "lr": 3e-3, "prefix_cache_gib": 0.1}
)  # fmt: skip
PPO = BASE.ppo.model_copy(
    update={"total_steps": 320, "num_envs": 4, "rollout_steps": 8, "epochs": 2, "minibatches": 2, "lr": 1e-3,
            "checkpoint_every": 3, "critic_warmup": 1}
)  # fmt: skip
PARAMS = BASE.model_copy(update={"seed": 3, "policy": POLICY, "train": TRAIN, "ppo": PPO})


class Interrupted(Exception):  # noqa: N818
    """Stands for a lost power supply."""


def data(count: int = 40, seed: int = 0) -> tuple[list[Demonstration], MemoryStore]:
    """Episodes of 1 to 6 steps: the action is the number in the features, plus 10 if the instruction says ball."""
    rng, store, demonstrations = np.random.default_rng(seed), MemoryStore(*SHAPE), []
    for number in range(count):
        steps, word = int(rng.integers(1, 7)), ["apple", "ball"][number % 2]
        shown = rng.integers(0, 8, steps)
        keys = [hashlib.md5(f"{seed}/{number}/{step}".encode()).digest() for step in range(steps)]
        store.add(keys, np.eye(16, dtype=np.float32)[shown][:, None] + 0.01 * rng.normal(size=(steps, *SHAPE)))
        actions = [int(what) + (10 if word == "ball" else 0) for what in shown]
        demonstrations.append(Demonstration(f"e{number}", f"Move the {word} to place {number % 5}", keys, actions))
    return demonstrations, store


def changed(**sections):
    """PARAMS with some keys of sections changed: `changed(train={"lr": 1.0}, seed=4)`."""
    update = {
        name: getattr(PARAMS, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in sections.items()
    }
    return PARAMS.model_copy(update=update)


def run(out: Path, stop_after: int | None = None, params=PARAMS, content=None, stop=None) -> dict:
    """Trains; returns the metrics by step. With `stop_after`, fails after that step as if switched off."""
    metrics: dict[int, dict[str, float]] = {}

    def on_metrics(step: int, figures: dict[str, float]) -> None:
        metrics[step] = figures
        if stop_after is not None and step >= stop_after:
            (stop or _interrupt)()

    demonstrations, store = content or data()
    environment = ToyEnvironment(PARAMS)
    stores = MemoryStore(1, 16), MemoryStore(1, 16)
    playground = Playground(environment, environment.episodes(), ToyEncoder(), *stores, "toy")
    shown = Shown(Demonstrations(demonstrations, NAMES), store, SHAPE)
    train(params, shown, playground, out, lambda phase: on_metrics, Path(f"{out}.checkpoints"))
    return metrics


def _interrupt() -> None:
    raise Interrupted


if __name__ == "__main__":
    out, algorithm, processes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    stop_at = int(sys.argv[4]) if len(sys.argv) > 4 else None
    number = signal.SIGTERM if sys.argv[5:] == ["term"] else signal.SIGKILL
    figures = run(
        out, stop_at, changed(train={"processes": processes, "algorithm": algorithm}),
        stop=lambda: os.kill(os.getpid(), number),
    )  # fmt: skip
    if figures:  # rank 0
        Path(f"{out}.metrics.json").write_text(json.dumps(figures))
