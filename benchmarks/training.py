"""How fast reinforcement learning is: `python benchmarks/training.py`, with `--json` as one JSON object.

A frozen random Llama on the CPU in float32, given features, episodes that end together or at random lengths: rollout
and update of `llarp.learn` as training runs them, but without a simulator. Useful FLOPs are those of a frame's token,
read once in the rollout and learnt from once in every epoch, and those of an instruction that is read for the first
time; a multiplication and an addition count as two. They are set against a 1024 x 1024 float32 product timed in the
same run, between the measurements; seconds are of this process's CPU time, so that a busy machine says much the same.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

MODELS = {
    "small": {
        "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8,
        "intermediate_size": 688, "vocab_size": 32_000,
    },
    "smollm": {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 32_000,
    },
}  # fmt: skip
WORDINGS, STEPS, FEATURE_WIDTH, HIDDEN, ACTIONS = 64, 32, 768, 512, 70
WARM_UPDATES = 20
"""Updates before anything is measured: by then every one of the wordings has been read."""


@dataclass(frozen=True)
class Setting:
    """One row of the results."""

    model: str = "small"
    num_envs: int = 32
    lengths: str = "random"
    tokens: int = 24
    wordings: int | None = WORDINGS
    """None: every episode has an instruction of its own."""

    @property
    def name(self) -> str:
        """Key of the results."""
        parts = [self.model, str(self.num_envs), self.lengths]
        parts += [f"{self.tokens}tokens"] if self.tokens != 24 else []
        parts += [] if self.wordings == WORDINGS else ["new" if self.wordings is None else f"{self.wordings}wordings"]
        return "_".join(parts)


SETTINGS = [
    Setting(), Setting(lengths="aligned"), Setting(num_envs=8), Setting(num_envs=8, lengths="aligned"),
    Setting(tokens=48), Setting(wordings=2 * WORDINGS), Setting(wordings=None), Setting(num_envs=64),
    Setting("smollm"), Setting("smollm", lengths="aligned"), Setting("smollm", 8), Setting("smollm", tokens=48),
]  # fmt: skip


def backbone(model: str):
    """A random Llama; an instruction is written as its token ids."""
    from transformers import LlamaConfig, LlamaModel

    from llarp.policy.backbone import Identity
    from llarp.policy.fused_backbone import FusedBackbone

    class Ids(FusedBackbone):
        def tokenize(self, instructions):
            return [[int(word) for word in text.split()] for text in instructions]

    torch.manual_seed(0)
    return Ids(LlamaModel(LlamaConfig(**MODELS[model])), None, Identity(model, None, "0" * 64), 64, False)


class Episodes:
    """A `VectorEnvironment` of random features: nothing is simulated."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.num_envs, self.token_shape = setting, setting.num_envs, (1, FEATURE_WIDTH)
        self.rng = np.random.default_rng(seed)
        self.pool = self.rng.standard_normal((4096, 1, FEATURE_WIDTH)).astype(np.float16)
        count = setting.wordings or 0
        self.texts = [self._text() for _ in range(count)]
        self.instructions = [self._next() for _ in range(self.num_envs)]
        self.actions_so_far: list[list[int]] = [[] for _ in range(self.num_envs)]
        self.left = self._lengths(self.num_envs)
        if setting.lengths == "random":  # as in the middle of a training: not all at their first step
            self.left = np.ceil(self.left * self.rng.random(self.num_envs)).astype(np.int64)

    def observe(self) -> np.ndarray:
        """float16[N, 1, D] random features."""
        return self.pool[self.rng.integers(0, len(self.pool), self.num_envs)]

    def step(self, actions: np.ndarray):
        """Ends what has lasted long enough."""
        from llarp.environments.vector import Transition

        self.left -= 1
        for taken, action in zip(self.actions_so_far, actions.tolist(), strict=True):
            taken.append(action)
        ended = self.left == 0
        for place in np.flatnonzero(ended):
            self.instructions[place], self.actions_so_far[place] = self._next(), []
        self.left[ended] = self._lengths(int(ended.sum()))
        rewards = (actions % 2).astype(np.float64)
        return Transition(rewards, ended, np.zeros_like(ended), self.pool[:0], [])

    def _lengths(self, count: int):
        return np.full(count, STEPS) if self.setting.lengths == "aligned" else self.rng.integers(6, STEPS + 1, count)

    def _text(self) -> str:
        return " ".join(map(str, self.rng.integers(3, 32_000, self.setting.tokens)))

    def _next(self) -> str:
        return self.texts[self.rng.integers(len(self.texts))] if self.texts else self._text()


class Product:
    """The rate of a large matrix product, timed between the measurements."""

    def __init__(self) -> None:
        self.a, self.b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        self.rates: list[float] = []

    def time(self) -> None:
        """Times two."""
        start = time.process_time()
        for _ in range(2):
            self.a @ self.b
        self.rates.append(2 * 2 * 1024**3 / (time.process_time() - start))


def measure(setting: Setting, updates: int) -> dict[str, float]:
    """The figures of one setting, in this process; with other ranks, of all of them, by the clock on the wall."""
    from accelerate import Accelerator

    from llarp.config import PolicyConfig, load_params
    from llarp.learn.ppo import PPO
    from llarp.learn.rollout import Collector
    from llarp.learn.trainer import Trainer
    from llarp.policy.flops import Flops
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.ranks import Ranks

    params = load_params()
    ppo_config = params.ppo.model_copy(
        update={"num_envs": setting.num_envs, "rollout_steps": STEPS, "epochs": 2, "minibatches": 8,
                "total_steps": 10**9, "critic_warmup": 0, "max_kl": 1e9}
    )  # fmt: skip
    torch.manual_seed(0)
    config = PolicyConfig(backbone=setting.model, revision=None, sha256=None, max_instruction_tokens=64, hidden=HIDDEN)
    policy = LLaRPPolicy(
        backbone(setting.model),
        config,
        (1, FEATURE_WIDTH),
        prefix_bytes=2**29,
        actions=[str(a) for a in range(ACTIONS)],
    )
    environment = Episodes(setting, seed=1)
    collector = Collector(policy, environment, STEPS, STEPS)
    ranks = Ranks(Accelerator(cpu=True))
    ppo = PPO(ppo_config, policy, collector, "", 0, ranks)
    trainer = Trainer(policy.adapters, ppo, ranks, None, 0, lambda *_: None)
    flops = Flops.of(policy.backbone.model, policy.adapters)
    clock = time.process_time if ranks.count == 1 else time.perf_counter
    product, seconds = Product(), {"rollout": [], "update": []}
    steps, trained, read = [], [], []
    warm = WARM_UPDATES if setting.model == "small" else 3
    for update in range(warm + updates):
        before = policy.prefixes.tokens_read
        ranks.wait()
        start = clock()
        batches = ppo.batches(update)
        first = next(batches)  # the rollout
        middle = clock()
        frames = sum(map(len, first.segments))
        trainer._step(first, 3e-4, False, "")
        for batch in batches:
            frames += sum(map(len, batch.segments))
            trainer._step(batch, 3e-4, False, "")
        end = clock()
        product.time()
        if update >= warm:
            seconds["rollout"].append(middle - start)
            seconds["update"].append(end - middle)
            steps.append(first.rollout.num_steps)
            trained.append(frames)
            read.append(policy.prefixes.tokens_read - before)
    rate = statistics.median(product.rates) * ranks.count
    rollout_s, update_s = (sum(part) for part in seconds.values())
    total, mean_context = sum(steps) * ranks.count, setting.tokens + mean_position(setting.lengths)
    rollout_flops = total * flops.forward(mean_context) + ranks.count * sum(read) / setting.tokens * flops.reading(
        setting.tokens
    )
    update_flops = ranks.count * sum(trained) * flops.training(mean_context)
    assert ranks.count * sum(trained) == 2 * total, "every step is learnt from in both epochs"
    return {
        "rollout_steps_per_s": total / rollout_s,
        "update_steps_per_s": total / update_s,
        "fully_trained_steps_per_s": total / (rollout_s + update_s),
        "rollout_share_of_matmul": rollout_flops / rollout_s / rate,
        "update_share_of_matmul": update_flops / update_s / rate,
        "rollout_gflop_per_step": rollout_flops / total / 1e9,
        "update_gflop_per_step": update_flops / total / 1e9,
        "matmul_gflops": rate / 1e9,
        "threads": torch.get_num_threads(),
        "processes": ranks.count,
        "peak_memory_mb": peak_memory_mb(),
    }


def mean_position(lengths: str) -> float:
    """Frames that a frame sees, itself included, on average over all frames."""
    all_lengths = np.array([STEPS]) if lengths == "aligned" else np.arange(6, STEPS + 1)
    return float((all_lengths * (all_lengths + 1) / 2).sum() / all_lengths.sum())


def peak_memory_mb() -> float:
    """Most memory that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(setting: Setting, updates: int, processes: int = 1) -> dict[str, float]:
    """Measures a setting in processes of its own: what one has used says nothing of the next."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--here", setting.name, "--updates", str(updates)]
    several = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = []
    for rank in range(processes):
        place = {**several, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **place}
        ranks.append(
            subprocess.Popen(
                command, env=environment | {"ACCELERATE_USE_CPU": "true"}, stdout=subprocess.PIPE, text=True
            )
        )
    printed = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        sys.exit(f"{setting.name} failed")
    return json.loads(printed[0].splitlines()[-1])


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", help="settings whose names contain this")
    parser.add_argument("--updates", type=int, default=10, help="updates measured (small; smollm: a third of it)")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        torch.set_num_threads(1)
        setting = next(setting for setting in SETTINGS if setting.name == arguments.here)
        print(json.dumps(measure(setting, arguments.updates)))
        return
    results = {}
    jobs = [(setting, 1) for setting in SETTINGS] + [(Setting(), 2)]
    for setting, processes in jobs:
        name = setting.name + (f"_{processes}processes" if processes > 1 else "")
        if arguments.only and arguments.only not in name:
            continue
        updates = arguments.updates if setting.model == "small" else max(1, arguments.updates // 3)
        results[name] = run(setting, updates, processes)
        if not arguments.json:
            shown = "  ".join(f"{key} {value:,.3g}" for key, value in results[name].items())
            print(f"{name:<28}{shown}", flush=True)
    if arguments.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
