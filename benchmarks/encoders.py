"""What linear probes read off visual encoders on apartments they have not seen: `python benchmarks/encoders.py`.

The claim: mae-tiny's placed units (`vision.epochs: 0`, patches of 4) name what is in view better than raw pixels, than
the same network at random, and than autoencoders trained for minutes. Probes are fitted on frames of some apartments
and scored on frames of others; encoders see frames of yet other episodes of the first, without labels. Episodes that
open the fridge are added to those probed, as they are rare. Images per second are of one thread, and depend on the
machine and on what else runs there. One seed.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

EPISODES, OPENED, HELD_BACK = 3200, 10_000, 8
FITTED, TESTED, SEED, CENTRES = 4500, 1500, 7, 1024
TIMED = 100
Encode = Callable[[np.ndarray], np.ndarray]
MASKED = {"epochs": 3, "patch": 8, "dim": 64, "heads": 4, "mask_ratio": 0.75, "lr": 1e-3}
"""The autoencoder of the `laptop` preset."""
PLACED = {"epochs": 0, "patch": 4, "dim": 16, "heads": 1}
"""Units placed by clustering: `mae-tiny` in the table."""


def samples(params) -> tuple[np.ndarray, object]:
    """Frames to make encoders of; labelled frames, of which the last are of other apartments."""
    from llarp.sim.embedded import EmbeddedSimulator
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate, layout_names
    from llarp.vision.probe import Labelled, sample_labelled
    from llarp.vision.warm import sample_frames

    drawn = list(generate("train", EPISODES + OPENED, SEED, params.episodes, world=RuleWorld()))
    names = layout_names("train", params.episodes)
    apart = set(np.random.default_rng(SEED).permutation(names)[:HELD_BACK].tolist())
    known = [one for one in drawn[:EPISODES] if one.layout not in apart]
    cut = len(known) // 2
    opened = [one for one in drawn[EPISODES:] if any(skill.verb == "open_fridge" for skill in one.demonstration)]
    fitted = known[cut:] + [one for one in opened if one.layout not in apart]
    tested = [one for one in drawn[:EPISODES] + opened if one.layout in apart]
    simulator = EmbeddedSimulator(params.camera)
    frames = sample_frames(known[:cut], simulator, params.vision.frames, SEED)
    parts = [
        sample_labelled(episodes, simulator, params.camera, count, SEED)
        for episodes, count in ((fitted, FITTED), (tested, TESTED))
    ]
    return frames, Labelled(
        *(np.concatenate(fields) for fields in zip(*(vars(p).values() for p in parts), strict=True))
    )


def dictionary(frames: np.ndarray, patch: int) -> Encode:
    """Raw patches against k-means centres, what is nearer than usual pooled by maximum and mean: no ViT."""

    def cut(images: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.unfold(pixels, patch, stride=patch).transpose(1, 2)

    generator = torch.Generator().manual_seed(SEED)
    patches = cut(frames[:1000]).flatten(0, 1)
    patches = patches[torch.randperm(len(patches), generator=generator)[:60_000]]
    centres = patches[:CENTRES]
    for _ in range(8):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in patches.split(8192)])
        count = torch.bincount(nearest, minlength=CENTRES)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, patches)
        centres = torch.where(count > 0, sums / count.clamp(min=1), centres)

    def encode(images: np.ndarray) -> np.ndarray:
        rows = []
        for image in cut(images):
            far = torch.cdist(image, centres)
            near = (far.mean(1, keepdim=True) - far).relu_()
            rows.append(torch.cat([near.amax(0), near.mean(0)]))
        return torch.stack(rows).numpy()

    return encode


def encoders(params, frames: np.ndarray, folder: Path) -> Iterator[tuple[str, Encode]]:
    """Name and function of each."""
    from llarp.vision import probe
    from llarp.vision.mae import train_mae

    outputs = ("cls", "mean", "patches", "units")
    placed = train_mae(frames, params.vision.model_copy(update=PLACED), SEED, folder / "placed")
    for kind, encoder in (("random ViT", probe._untrained(placed, SEED)), ("mae-tiny", placed)):
        for output in outputs:
            yield f"{kind}, {output}", encoder.with_output(output).encode
    for patch, change in ((8, {}), (4, {**PLACED, "epochs": 2})):
        config = params.vision.model_copy(update={**MASKED, **change, "output": "patches"})
        trained = train_mae(frames, config, SEED, folder / f"masked{patch}")
        yield f"masked autoencoder of patch {patch}, units", trained.with_output("units").encode
    for patch in (8, 4):
        yield f"k-means of raw patches of {patch}", dictionary(frames, patch)


def images_per_s(encode: Encode, frames: np.ndarray) -> float:
    """Of one thread; the best of three passes."""
    before, passes = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(3):
        start = time.perf_counter()
        encode(frames[:TIMED])
        passes.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return TIMED / min(passes)


def main() -> None:
    """Prints a row per encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    from llarp.config import load_params
    from llarp.vision import probe

    params = load_params()
    frames, sample = samples(params)
    count = len(sample.frames) - TESTED
    if not arguments.json:
        opened = int(sample.fridge_open[count:].sum())
        shown = f"{opened} with the fridge open in view"
        print(f"fitted on {count} frames, scored on {TESTED} of other apartments, {shown}")
        print(f"{'features':<38}{'numbers':>8}{'in view':>9}{'receptacle':>12}{'held':>7}{'fridge':>8}{'images/s':>10}")

    def row(name: str, features: np.ndarray, speed: float) -> None:
        found = probe.probe(name, features, sample, count)
        if arguments.json:
            print(json.dumps({**asdict(found), "images_per_s": speed}), flush=True)
            return
        scores = f"{found.in_view:>9.3f}{found.receptacle:>12.3f}{found.held:>7.3f}{found.fridge_open:>8.3f}"
        print(f"{name:<38}{found.width:>8}{scores}{speed:>10.0f}", flush=True)

    row("raw pixels", probe._pixels(sample.frames), images_per_s(probe._pixels, sample.frames))
    with tempfile.TemporaryDirectory() as folder:
        for name, encode in encoders(params, frames, Path(folder)):
            parts = [encode(sample.frames[start : start + 64]) for start in range(0, len(sample.frames), 64)]
            features = np.concatenate(parts).astype(np.float16).astype(np.float32).reshape(len(sample.frames), -1)
            row(name, features, images_per_s(encode, sample.frames))


if __name__ == "__main__":
    main()
