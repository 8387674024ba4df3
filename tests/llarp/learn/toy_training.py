"""A training small enough for tests: MiniLM, narrow adapters, 40 short episodes of random features.

Run as a module under `accelerate launch` it trains too: `python -m toy_training OUT PROCESSES [STOP_AFTER_STEP]`.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from llarp.config import load_params
from llarp.learn.demonstrations import Demonstration, Demonstrations
from llarp.learn.trainer import train
from llarp.tasks.skills import NAMES
from llarp.vision.memory import MemoryStore

SHAPE = (1, 16)
ROOT = Path(__file__).resolve().parents[3]
PARAMS = load_params(ROOT / "params.yaml")
POLICY = PARAMS.policy.model_copy(update={"hidden": 32})
TRAIN = PARAMS.train.model_copy(
    update={"processes": 1, "epochs": 2.0, "batch_size": 8, "checkpoint_every": 3, "keep_checkpoints": 2,
            "log_every": 1, "lr": 3e-3}
)  # fmt: skip


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


def run(out: Path, stop_after: int | None = None, config=TRAIN, policy=POLICY, content=None, seed: int = 3) -> dict:
    """Trains; returns the metrics by step. With `stop_after`, fails after that step as if switched off."""
    metrics: dict[int, dict[str, float]] = {}

    def on_metrics(step: int, figures: dict[str, float]) -> None:
        metrics[step] = figures
        if step == stop_after:
            raise Interrupted

    demonstrations, store = content or data()
    train(config, policy, Demonstrations(demonstrations, NAMES), store, SHAPE, out, seed, on_metrics)
    return metrics


if __name__ == "__main__":
    out, processes = Path(sys.argv[1]), int(sys.argv[2])
    stop = int(sys.argv[3]) if len(sys.argv) > 3 else None
    figures = run(out, stop, TRAIN.model_copy(update={"processes": processes}))
    if figures:  # rank 0
        Path(f"{out}.metrics.json").write_text(json.dumps(figures))
