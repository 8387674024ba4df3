"""What `test_warm` warms, in this process or, with `forked`, in several ranks."""

import dataclasses
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from seen_episodes import CAMERA, make_episode

from llarp.ranks import Ranks
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import SKILLS
from llarp.vision import warm as warm_module
from llarp.vision.base import Encoder
from llarp.vision.store import ShardStore
from llarp.vision.warm import warm

TOUR = tuple(skill for skill in SKILLS if skill.verb == "nav")[:9]


class Quarters(Encoder):
    """Four tokens: mean colours. Counts its work."""

    identity, num_tokens, dim = "q" * 64, 4, 3

    def __init__(self):
        self.batches = []

    def encode(self, images):
        self.batches.append(len(images))
        count, height, width, _ = images.shape
        parts = images.reshape(count, 2, height // 2, 2, width // 2, 3).mean((2, 4), dtype=np.float64)
        return (parts.reshape(count, 4, 3) / 255).astype(np.float32)


@cache
def episodes():
    """Two layouts in turn; the third episode sees what the first does."""
    two = [make_episode(0), make_episode(1, "gen_train_0001")]
    return [*two, dataclasses.replace(two[0], episode_id="again"), make_episode(2, "gen_train_0001")]


def walks(number):
    """The demonstration; of some episodes a tour as well."""
    tours = [TOUR] if number in (1, 3) else []
    return [episodes()[number].demonstration, *tours]


def small_chunks(patch=setattr):
    """Several shards of several batches, though the episodes are few."""
    patch(warm_module, "FEWEST_VIEWS", 6)
    patch(warm_module, "PART_EPISODES", 1)


def warmed(folder, ranks, encoder=None, part=(0, 1), known=None):
    """Warms a store in a folder with batches of 4, made where there is none."""
    encoder = encoder or Quarters()
    ranks.alike(lambda: ShardStore.open_or_create(folder, encoder))
    simulator = EmbeddedSimulator(CAMERA)
    return warm(episodes(), walks, simulator, encoder, folder, 4, ranks, known, part)


def several(out):
    """In each of two ranks: warms the whole, and a machine's half; tells what was said of it."""
    small_chunks()
    ranks, encoder = Ranks.meet(SimpleNamespace(processes=2, machines=1, mixed_precision="none")), Quarters()
    done = warmed(Path(out, "whole"), ranks, encoder)
    half = warmed(Path(out, "half"), ranks, part=(0, 2))
    again = warmed(Path(out, "whole"), ranks)
    keys = [[[key.hex() for key in walk] for walk in of_one] for of_one in done.keys]
    told = [done.num_encoded, done.num_distinct, half.num_encoded, again.num_encoded]
    Path(out, f"{ranks.rank}.json").write_text(json.dumps([keys, told, encoder.batches]))
    ranks.wait()
