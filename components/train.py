"""Stage `train`: the adapters, on as many processes as asked for.

`python -m components.train` starts the ranks with `accelerate launch`; each of them is this module with `--rank`. With
several machines, `llarp join` starts those of the others in the same way.
"""

import hashlib
import os
from typing import TYPE_CHECKING

from components import data_versions
from components.curves import Curves
from components.launch import launch_ranks, main_of_ranks
from components.overlay import open_overlay
from components.paths import Paths
from components.stage import OnMetrics, Result, ignore
from llarp.config import Params

if TYPE_CHECKING:
    from llarp.learn.train import Playground, Shown


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Trains in one rank; the first writes the policy and its curves. Goes on from a checkpoint if there is one."""
    from llarp.learn.train import train
    from llarp.ranks import Ranks

    ranks = Ranks.meet(params.train)
    shown, playground = ranks.alike(lambda: _read(params, paths))
    curves = Curves(paths.state / "curves.jsonl", on_metrics)
    train(params, shown, playground, paths.policy, curves.phase, paths.checkpoints, ranks)
    if not ranks.is_first:
        return Result("")
    data_versions.write_seen(paths, paths.policy)
    told = [_told(curves, phase) for phase in ("bc", "ppo") if curves.points(phase)]
    curves.finish(paths.curves)
    return Result(f"Trained on {len(shown.demonstrations)} demonstrations: {'; '.join(told)}.")


def _read(params: Params, paths: Paths) -> "tuple[Shown, Playground | None]":
    """What there is to learn from; one rank of a machine reads the features over to see that they are unharmed."""
    from llarp.learn import demonstrations
    from llarp.learn.train import Shown
    from llarp.vision.store import ShardStore

    store = ShardStore.open(paths.features, verify=_is_first_here())
    shown = Shown(demonstrations.read(paths.demonstrations), store, (store.num_tokens, store.dim))
    plays = "ppo" in params.train.algorithm or params.train.dagger_rounds > 0
    return shown, _playground(params, paths) if plays else None


def _playground(params: Params, paths: Paths) -> "Playground":
    """Where the policy plays: the training episodes, seen by the encoder."""
    from llarp.environments.make import make_environment
    from llarp.learn.train import Playground
    from llarp.vision.encoder import load_encoder
    from llarp.vision.store import ShardStore

    encoder, world = load_encoder(paths.encoder), make_environment(params)
    store = ShardStore.open(paths.features, encoder, verify=False)
    overlay = open_overlay(params, paths, encoder, verify=_is_first_here())
    digest = hashlib.sha256(encoder.identity.encode())
    digest.update(params.model_dump_json(include={"environment", "simulator", "camera", "reward"}).encode())
    for file in sorted(paths.split("train").glob("*.parquet")):
        digest.update(file.read_bytes())
    return Playground(world, world.read(paths.split("train")), encoder, store, overlay, digest.hexdigest())


def _is_first_here() -> bool:
    """Whether this is the rank of its machine that reads files over."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _told(curves: Curves, phase: str) -> str:
    """How a phase ended, in a few words."""
    step, last = curves.points(phase)[-1]
    names = ("bc/loss", "bc/accuracy", "rollout/success_rate", "ppo/entropy")
    figures = ", ".join(f"{name.split('/')[-1]} {last[name]:.3g}" for name in names if name in last)
    return f"{phase} for {step} steps, {figures}"


def launch(params: Params, machine: int = 0) -> None:
    """Runs the ranks of a machine; see `launch_ranks`."""
    launch_ranks("components.train", params.train, machine)


if __name__ == "__main__":
    main_of_ranks("train", run, launch)
