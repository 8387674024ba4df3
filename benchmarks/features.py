"""The feature cache: what warming costs beyond drawing and encoding, and how fast features come back.

Run `python benchmarks/features.py` on an otherwise idle machine (about ten minutes; `--quick` leaves VC-1 out). Every
rate stands beside what limits it, measured in the same run: warming beside drawing and encoding alone, two processes
beside one, a training with the cache beside one without. VC-1's base has random weights here: its speed is that of the
real ones.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

HERE = Path(__file__).parent
EPISODES = 1200
"""Whose demonstrations are warmed."""
LARGE_EPISODES, LARGE_EPOCHS = 10, 8
"""Of the short training with VC-1's base."""
MANY_KEYS = 2_400_000
READ = 600_000
"""Random rows of a reading test."""
SEED = 7


def episodes(params, count):
    """Of training."""
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate

    return list(generate("train", count, SEED, params.episodes, world=RuleWorld()))


def rank() -> None:
    """One process of a warming: tells its wall-clock time, from when all are ready."""
    from accelerate import Accelerator

    from llarp.config import load_params
    from llarp.ranks import Ranks
    from llarp.sim.make import make_simulator
    from llarp.vision.encoder import load_encoder
    from llarp.vision.warm import warm

    folder, count = Path(sys.argv[2]), int(sys.argv[3])
    params, ranks = load_params(), Ranks(Accelerator())
    import torch

    torch.set_num_threads(1)
    shown, encoder, simulator = episodes(params, count), load_encoder(folder / "encoder"), make_simulator(params)
    simulator.reset(shown[0])
    encoder.encode(simulator.render()[None])  # what is compiled or allocated once is no part of the rate
    ranks.wait()
    begun_s = time.perf_counter()
    done = warm(
        shown, lambda number: [shown[number].demonstration], simulator, encoder, folder / "store",
        params.features.batch_size, ranks,
    )  # fmt: skip
    seconds = time.perf_counter() - begun_s
    if ranks.is_first:
        (folder / "told.json").write_text(json.dumps([done.num_encoded, done.num_distinct, seconds]))


def warmed(folder: Path, encoder, processes: int, count: int) -> tuple[float, int, int]:
    """(views per second, views encoded, distinct views) of a warming by so many processes."""
    import shutil

    from llarp.launch import launch_command, launch_environment
    from llarp.vision.store import ShardStore

    shutil.rmtree(folder / "store", ignore_errors=True)
    ShardStore.create(folder / "store", encoder)
    together = SimpleNamespace(processes=processes, machines=1, address=None, mixed_precision="none")
    command = launch_command("features", ["--rank", str(folder), str(count)], together)
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    subprocess.run(command, env={**launch_environment(), "PYTHONPATH": path}, check=True)
    encoded, distinct, seconds = json.loads((folder / "told.json").read_text())
    return distinct / seconds, encoded, distinct


def draw_and_encode(params, encoder, count: int, most: int) -> tuple[float, float]:
    """(seconds to draw, seconds to encode) a view, each by itself."""
    from llarp.sim.make import make_simulator
    from llarp.vision.warm import replay

    simulator, images, draw_s, encode_s = make_simulator(params), [], 0.0, 0.0
    for episode in episodes(params, count):
        for _ in replay(simulator, episode):
            begun_s = time.perf_counter()
            images.append(simulator.render())
            draw_s += time.perf_counter() - begun_s
        if len(images) >= most:
            break
    for first in range(0, len(images), params.features.batch_size):
        batch = np.stack(images[first : first + params.features.batch_size])
        begun_s = time.perf_counter()
        encoder.encode(batch)
        encode_s += time.perf_counter() - begun_s
    return draw_s / len(images), encode_s / len(images)


def warming(params, folder: Path) -> None:
    """The default encoder: one process beside its parts, two beside one."""
    from llarp.sim.make import make_simulator
    from llarp.vision.mae import train_mae
    from llarp.vision.warm import sample_frames

    frames = sample_frames(episodes(params, 200), make_simulator(params), 1000, SEED)
    encoder = train_mae(frames, params.vision, SEED, folder / "encoder")
    shares, gains = [], []
    for _ in range(3):
        draw_s, encode_s = draw_and_encode(params, encoder, EPISODES, 800)
        one, encoded, distinct = warmed(folder, encoder, 1, EPISODES)
        two, encoded_by_two, _ = warmed(folder, encoder, 2, EPISODES)
        assert encoded == encoded_by_two == distinct
        shares.append(one * (draw_s + encode_s))
        gains.append(two / one)
    print(f"warming, default encoder: {one:,.0f} views/s, {two:,.0f} by two; drawing alone {1 / draw_s:,.0f},", end=" ")
    print(f"encoding alone {1 / encode_s:,.0f}")
    print(f"  share of 1 / (draw + encode)      {statistics.median(shares):.1%}   (goal 90 %)")
    print(f"  two processes beside one          {statistics.median(gains):.2f} x  (goal 1.8)")
    print(f"  encoded twice                     {encoded_by_two - distinct} of {distinct} views (goal 0)")


def reading(dim: int, num_keys: int, goal: float) -> None:
    """`get` of random rows with a warm page cache, and opening; the store is as warming leaves it."""
    import psutil

    from llarp.vision.store import ShardStore, add_shard, index_shards
    from llarp.vision.warm import MOST_VIEWS

    encoder = SimpleNamespace(identity="benchmark", num_tokens=1, dim=dim)
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name) / "store", np.random.default_rng(SEED)
        ShardStore.create(folder, encoder)
        keys = np.frombuffer(rng.bytes(16 * num_keys), "V16")
        block = rng.standard_normal((MOST_VIEWS, 1, dim), np.float32).astype(np.float16)
        parts = [keys[first : first + MOST_VIEWS] for first in range(0, num_keys, MOST_VIEWS)]
        for part in parts:
            add_shard(folder, part, block[: len(part)])
        index_shards(folder)
        ShardStore.open(folder, verify=False).get(keys[:1])  # imports and compiles
        process, times, rates = psutil.Process(), [], []
        before = process.memory_info().rss
        for _ in range(5):
            begun_s = time.perf_counter()
            store = ShardStore.open(folder, verify=False)
            times.append(time.perf_counter() - begun_s)
        opened = process.memory_info().rss - before
        order = rng.permutation(num_keys)[:READ]
        for batch in (4096, 256):
            asked = [keys[order[first : first + batch]] for first in range(0, len(order), batch)]
            for some in asked:
                store.get(some)
            begun_s = time.perf_counter()
            for some in asked:
                store.get(some)
            rates.append(len(order) / (time.perf_counter() - begun_s))
    print(f"store of {num_keys:,} keys, {len(parts)} shards, rows of {dim}")
    print(f"  rows/s, 4,096 or 256 at a time    {rates[0]:,.0f}, {rates[1]:,.0f}   (goal {goal:,.0f})")
    print(
        f"  opening                           {statistics.median(times) * 1e3:.0f} ms, {opened / 2**20:.1f} MiB", end=""
    )
    print("   (goal 200 ms, 100 MB)" if num_keys == MANY_KEYS else "")


class Uncached:
    """A store that has nothing: views are encoded whenever they are asked for, though not drawn again."""

    def __init__(self, encoder, images):
        self.encoder, self.images = encoder, images

    def get(self, keys):
        """As every store, but slowly."""
        features = self.encoder.encode(np.stack([self.images[key] for key in keys]))
        return features.astype(np.float16), np.ones(len(keys), bool)


def large(params, folder: Path) -> None:
    """VC-1's base: warming beside the bare encoder, and a short training with and without the cache."""
    import torch
    from transformers import ViTConfig, ViTModel

    from llarp.learn.algorithm import Share
    from llarp.learn.cloning import Cloning
    from llarp.learn.demonstrations import Demonstration
    from llarp.policy.backbones import load_backbone
    from llarp.policy.llarp import LLaRPPolicy
    from llarp.sim.make import make_simulator
    from llarp.tasks.skills import INDEX
    from llarp.vision.encoder import ViTEncoder
    from llarp.vision.store import ShardStore
    from llarp.vision.vc1 import LAYER_NORM_EPS, PREPROCESSING
    from llarp.vision.warm import replay

    torch.manual_seed(SEED)
    model = ViTModel(ViTConfig(layer_norm_eps=LAYER_NORM_EPS), add_pooling_layer=False)
    encoder = ViTEncoder(model, PREPROCESSING, "cls")
    encoder.save(folder / "encoder")
    _, encode_s = draw_and_encode(params, encoder, LARGE_EPISODES, 40)
    rate, _, distinct = warmed(folder, encoder, 1, LARGE_EPISODES)
    print(f"warming, VC-1's base: {rate:.2f} views/s of {distinct}")
    print(f"  share of the bare encoder         {rate * encode_s:.1%}   (goal 90 %)")

    simulator, shown, images = make_simulator(params), [], {}
    for episode in episodes(params, LARGE_EPISODES):
        keys = []
        for _ in replay(simulator, episode):
            keys.append(simulator.view_key())
            images[keys[-1]] = simulator.render()
        actions = [INDEX[skill] for skill in episode.demonstration]
        shown.append(Demonstration(episode.episode_id, episode.instruction, keys, actions))
    config = params.train.model_copy(update={"epochs": LARGE_EPOCHS, "batch_size": 2})

    def train(store) -> float:
        policy = LLaRPPolicy(load_backbone(params.policy), params.policy, (1, encoder.dim), prefix_bytes=2**30)
        cloning = Cloning(config, policy, shown, store, SEED, Share(0, 1))
        begun_s = time.perf_counter()
        for step in range(cloning.num_steps):
            cloning.loss(cloning.batch(step)).loss.backward()
        return time.perf_counter() - begun_s

    with_s = train(ShardStore.open(folder / "store", encoder))
    without_s = train(Uncached(encoder, images))
    warm_s = distinct / rate
    print(
        f"training, {LARGE_EPOCHS} passes over {LARGE_EPISODES} demonstrations: {without_s:.0f} s without the cache,",
        end=" ",
    )
    print(f"{with_s:.1f} s with it, {warm_s:.0f} s to fill it")
    print(f"  faster, filling it included       {without_s / (with_s + warm_s):.1f} x  (goal 5)")
    print(f"  and once it is filled             {without_s / with_s:.0f} x")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without VC-1")
    quick = parser.parse_args().quick

    import torch

    from llarp.config import load_params

    torch.set_num_threads(1)
    params = load_params()
    reading(192, MANY_KEYS, 1_000_000)
    reading(768, MANY_KEYS // 4, 500_000)
    with tempfile.TemporaryDirectory() as name:
        warming(params, Path(name))
    if not quick:
        with tempfile.TemporaryDirectory() as name:
            large(params, Path(name))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank()
    else:
        main()
