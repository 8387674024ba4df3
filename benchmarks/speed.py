"""How fast the parts are, as ratios measured in one run: `make bench`, or `python benchmarks/speed.py --json`.

Every figure is a median over repetitions in one process with one thread. Seconds depend on the machine; the ratios
say whether each shortcut is worth having.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPEATS = 5
EPISODES = 96


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time of `work`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def drawing(params, episodes) -> dict[str, float]:
    """Rules alone, with view keys, and with images."""
    from llarp.sim.embedded import EmbeddedSimulator
    from llarp.sim.rules import RuleWorld

    def play(world, look) -> int:
        views = 0
        for episode in episodes:
            world.reset(episode)
            for skill in episode.demonstration:
                look(world)
                world.apply(skill)
                views += 1
        return views

    simulator = EmbeddedSimulator(params.camera)
    views = play(simulator, lambda s: s.render())
    view_s = seconds(lambda: play(simulator, lambda s: s.render())) / views
    key_s = seconds(lambda: play(simulator, lambda s: s.view_key())) / views
    rules_s = seconds(lambda: play(RuleWorld(), lambda s: None)) / views
    return {
        "rules_steps_per_s": 1 / rules_s,
        "views_per_s": 1 / view_s,
        "view_key_share_of_view": key_s / view_s,
    }


def features(params, episodes) -> tuple[dict[str, float], tuple[int, int]]:
    """Reading a stored feature, against encoding its view; and the shape of a view's features."""
    from llarp.sim.embedded import EmbeddedSimulator
    from llarp.vision.mae import train_mae
    from llarp.vision.store import ShardStore
    from llarp.vision.warm import replay, sample_frames

    with tempfile.TemporaryDirectory() as folder:
        frames = sample_frames(episodes, EmbeddedSimulator(params.camera), 256, params.seed)
        tiny = params.vision.model_copy(update={"epochs": 1})
        encoder = train_mae(frames, tiny, params.seed, Path(folder) / "encoder")
        encode_s = seconds(lambda: encoder.encode(frames[:64])) / 64
        store = ShardStore.create(Path(folder) / "store", encoder)
        simulator = EmbeddedSimulator(params.camera)
        keys = list(dict.fromkeys(simulator.view_key() for episode in episodes for _ in replay(simulator, episode)))
        store.add(keys, np.zeros((len(keys), encoder.num_tokens, encoder.dim), np.float16))
        store.flush()
        read_s = seconds(lambda: store.get(keys)) / len(keys)
    figures = {
        "encoded_views_per_s": 1 / encode_s,
        "read_features_per_s": 1 / read_s,
        "read_instead_of_encode_speedup": encode_s / read_s,
    }
    return figures, (encoder.num_tokens, encoder.dim)


def training(params, episodes, shape: tuple[int, int]) -> dict[str, float]:
    """Cloning's useful FLOP/s as a share of a matrix product's, and what kept instructions save."""
    import torch

    from llarp.learn.algorithm import Share
    from llarp.learn.cloning import Cloning
    from llarp.learn.demonstrations import Demonstration
    from llarp.policy.backbones import load_backbone
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.tasks.skills import INDEX
    from llarp.vision.memory import MemoryStore

    torch.set_num_threads(1)
    tokens, dim = shape
    shown, store = [], MemoryStore(tokens, dim)
    rng = np.random.default_rng(params.seed)
    for number, episode in enumerate(episodes):
        keys = [number.to_bytes(8, "big") + step.to_bytes(8, "big") for step in range(len(episode.demonstration))]
        store.add(keys, rng.standard_normal((len(keys), tokens, dim), np.float32).astype(np.float16))
        actions = [INDEX[skill] for skill in episode.demonstration]
        shown.append(Demonstration(episode.episode_id, episode.instruction, keys, actions))
    policy = LLaRPPolicy(load_backbone(params.policy), params.policy, (tokens, dim), prefix_bytes=2**30)
    cloning = Cloning(params.train, policy, shown, store, params.seed, Share(0, 1))
    cloning.prepare()
    batches = [cloning.batch(step) for step in range(cloning.steps_per_epoch)]

    def epoch() -> int:
        frames = 0
        for batch in batches:
            sums = cloning.loss(batch)
            sums.loss.backward()
            frames += sums.num_frames
        return frames

    first_s = seconds(epoch, 1)
    epoch_s, frames = seconds(epoch, 3), epoch()
    backbone = sum(p.numel() for name, p in policy.backbone.model.named_parameters() if "embedding" not in name)
    adapters = sum(p.numel() for p in policy.adapters.parameters() if p.ndim > 1)
    shared = (
        0
        if policy.adapters.observation.patches is None
        else sum(
            p.numel() for name, p in policy.adapters.observation.patches.named_parameters() if name.endswith("weight")
        )
    )
    # Forward and the gradient of the inputs through the frozen part; forward and both gradients in the adapters.
    flops = frames * (2 * 2 * backbone + 3 * 2 * (adapters + (tokens - 1) * shared))
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    product = 2 * 1024**3 / seconds(lambda: a @ b, 21)
    return {
        "trained_frames_per_s": frames / epoch_s,
        "training_gflops": flops / epoch_s / 1e9,
        "matmul_gflops": product / 1e9,
        "training_share_of_matmul": flops / epoch_s / product,
        "kept_instructions_speedup": first_s / epoch_s,
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    from llarp.config import load_params
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate

    params = load_params()
    episodes = list(generate("train", EPISODES, params.seed, params.episodes, world=RuleWorld()))
    figures = drawing(params, episodes)
    found, shape = features(params, episodes)
    figures |= found | training(params, episodes, shape)
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:<34}{value:>12,.2f}")


if __name__ == "__main__":
    main()
