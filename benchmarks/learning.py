"""Reinforcement learning alone, from scratch, on a small task: `python benchmarks/learning.py`, `--json` for the curve.

Four families of tasks in one apartment of Language Rearrangement, seen through an encoder trained here on 256 frames
and read by the embedded backbone; no demonstration is ever shown. Success is of the policy as it acts while it learns
(actions are drawn), then of its best actions on episodes that it never played, beside chance. `--picture FILE` draws
the curve.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

FAMILIES = ("go_to", "find", "open_fridge", "close_fridge")
TRAINED, HELD_OUT, SEED = 600, 100, 7
CHANGES = {
    "num_envs": 32, "rollout_steps": 32, "epochs": 2, "minibatches": 8, "lr": 1e-3, "lr_decay": False,
    "clip_value": 0.0, "critic_warmup": 0, "preemption": 1.0,
}  # fmt: skip


def episodes(params, split: str, count: int) -> list:
    """Episodes of the families in one apartment; those of the two splits have no wording in common with objects."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate, layout_names

    layout, found, start = layout_names("train", params.episodes)[0], [], 0
    while len(found) < count:
        drawn = generate(split, 500, SEED, params.episodes, start, world=RuleWorld())
        found += [one for one in drawn if one.layout == layout and one.family in FAMILIES]
        start += 500
    return found[:count]


def learn(params, steps: int) -> dict:
    """The curve, and success on held-out episodes."""
    from accelerate import Accelerator

    from llarp.environments.make import make_environment
    from llarp.evaluate.runner import evaluate
    from llarp.learn.checkpoint import Checkpoints
    from llarp.learn.ppo import PPO
    from llarp.learn.rollout import Collector
    from llarp.learn.trainer import Trainer
    from llarp.policy.backbones import load_backbone
    from llarp.policy.baselines import RandomPolicy
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.ranks import Ranks
    from llarp.sim.embedded import EmbeddedSimulator
    from llarp.vision.mae import train_mae
    from llarp.vision.memory import MemoryStore
    from llarp.vision.views import ViewFeatures
    from llarp.vision.warm import sample_frames

    config = params.ppo.model_copy(update={**CHANGES, "total_steps": steps})
    shown, unseen = episodes(params, "train", TRAINED), episodes(params, "train_validation", HELD_OUT)
    environment, ranks, curve = make_environment(params), Ranks(Accelerator(cpu=True)), []
    with tempfile.TemporaryDirectory() as folder:
        frames = sample_frames(shown, EmbeddedSimulator(params.camera), 256, SEED)
        encoder = train_mae(frames, params.vision, SEED, Path(folder) / "encoder")
        views = ViewFeatures(encoder, MemoryStore(encoder.num_tokens, encoder.dim))
        torch.manual_seed(SEED)
        policy = LLaRPPolicy(
            load_backbone(params.policy), params.policy, (encoder.num_tokens, encoder.dim), prefix_bytes=2**29
        )
        played = environment.vector(shown, config.num_envs, views, (SEED, 0))
        collector = Collector(policy, played, config.rollout_steps, environment.horizon)
        features = encoder.encode(frames).astype(np.float16)
        ppo = PPO(config, policy, collector, "", SEED, ranks, views=views, sample=lambda: features)
        checkpoints = Checkpoints(Path(folder) / "checkpoints", "", 1)
        start = time.perf_counter()
        trainer = Trainer(
            policy.adapters, ppo, ranks, checkpoints, SEED, lambda step, figures: curve.append([step, figures])
        )
        trainer.run()
        seconds = time.perf_counter() - start

    def success(who) -> float:
        return float(np.mean([row["success"] for row in evaluate(who, "policy", unseen, views, environment, 32)]))

    return {
        "env_steps": steps,
        "seconds": seconds,
        "held_out_success": success(policy),
        "random_success": success(RandomPolicy(SEED)),
        "curve": [
            [step, {name: value for name, value in figures.items() if name.startswith(("rollout/", "ppo/", "speed/"))}]
            for step, figures in curve
        ],
    }


def draw(result: dict, path: Path) -> None:
    """Success against environment steps, of all and of each family."""
    from matplotlib.figure import Figure

    figure = Figure((8, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = [step for step, _ in result["curve"]]
    for family in (*FAMILIES, None):
        name = "rollout/success_rate" + (f"/{family}" if family else "")
        label, width = (family, 1.0) if family else ("all", 2.4)
        axes.plot(steps, [100 * figures.get(name, np.nan) for _, figures in result["curve"]], label=label, lw=width)
    axes.axhline(100 * result["random_success"], color="#a0aec0", ls="--", label="chance, held out")
    axes.plot(steps[-1:], [100 * result["held_out_success"]], "k*", ms=10, label="best actions, held out")
    axes.set(xlabel="environment steps", ylabel="success, percent", ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the whole curve")
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    from llarp.config import load_params

    result = learn(load_params(), arguments.steps)
    if arguments.picture:
        draw(result, arguments.picture)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'steps':>8}{'success':>9}{'entropy':>9}{'expl. var.':>12}")
    for step, figures in result["curve"][:: max(1, len(result["curve"]) // 12)]:
        success = figures.get("rollout/success_rate", float("nan"))
        print(f"{step:>8}{success:>9.2f}{figures['ppo/entropy']:>9.2f}{figures['ppo/explained_variance']:>12.2f}")
    print(
        f"{result['env_steps']} steps in {result['seconds']:.0f} s; held out {result['held_out_success']:.2f}, "
        f"chance {result['random_success']:.2f}"
    )


if __name__ == "__main__":
    main()
