"""Stage `train`: the adapters, on as many processes as asked for.

`python -m components.train` starts the ranks with `accelerate launch`; each of them is this module with `--rank`. With
several machines, `--machine N` starts those of another one than the first.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from components import data_versions, environment
from components.curves import Curves
from components.paths import Paths
from components.stage import ERROR_FILE, OnMetrics, Result, fail, ignore, main
from llarp.config import Params, load_params
from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.learn.train import Playground

_RANK, _MACHINE = "--rank", "--machine"


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Trains in one rank; the first writes the policy and its curves. Goes on from a checkpoint if there is one."""
    from llarp.learn import demonstrations
    from llarp.learn.train import Shown, train
    from llarp.vision.store import ShardStore

    store = ShardStore.open(paths.features, verify=_is_first())
    shown = Shown(demonstrations.read(paths.demonstrations), store, (store.num_tokens, store.dim))
    curves = Curves(paths.state / "curves.jsonl", on_metrics)
    plays = "ppo" in params.train.algorithm or params.train.dagger_rounds > 0
    train(params, shown, _playground(params, paths) if plays else None, paths.policy, curves.phase, paths.checkpoints)
    if not _is_first():
        return Result("")
    data_versions.write_seen(paths, paths.policy)
    told = [_told(curves, phase) for phase in ("bc", "ppo") if curves.points(phase)]
    curves.finish(paths.curves)
    return Result(f"Trained on {len(shown.demonstrations)} demonstrations: {'; '.join(told)}.")


def _playground(params: Params, paths: Paths) -> "Playground":
    """Where the policy plays: the training episodes, seen by the encoder."""
    from llarp.environments.make import make_environment
    from llarp.learn.train import Playground
    from llarp.vision.encoder import load_encoder
    from llarp.vision.memory import BoundedStore
    from llarp.vision.store import ShardStore
    from llarp.vision.views import ViewFeatures

    encoder = load_encoder(paths.encoder)

    def views() -> ViewFeatures:
        limit = int(params.ppo.view_cache_gib * 2**30)
        overlay = BoundedStore(encoder.num_tokens, encoder.dim, limit)
        return ViewFeatures(encoder, ShardStore.open(paths.features, encoder, verify=False), overlay)

    world = make_environment(params)
    digest = hashlib.sha256(encoder.identity.encode())
    digest.update(params.model_dump_json(include={"environment", "simulator", "camera", "reward"}).encode())
    for file in sorted(paths.split("train").glob("*.parquet")):
        digest.update(file.read_bytes())
    return Playground(world, world.read(paths.split("train")), views, digest.hexdigest())


def _told(curves: Curves, phase: str) -> str:
    """How a phase ended, in a few words."""
    step, last = curves.points(phase)[-1]
    names = ("bc/loss", "bc/accuracy", "rollout/success_rate", "ppo/entropy")
    figures = ", ".join(f"{name.split('/')[-1]} {last[name]:.3g}" for name in names if name in last)
    return f"{phase} for {step} steps, {figures}"


def launch(params: Params, machine: int = 0) -> None:
    """Runs the ranks of a machine.

    UserError of a rank is raised here, any other failure ends the program with its exit code.
    """
    from llarp.learn.launch import launch_command, launch_environment

    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder) / "error"
        variables = {**launch_environment(), ERROR_FILE: str(error)}
        command = launch_command("components.train", [_RANK], params.train, machine)
        code = subprocess.run(command, env=variables, check=False).returncode
        if error.exists():
            raise UserError(error.read_text())
    if code:
        raise SystemExit(code)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    if _RANK in sys.argv:
        main("train", run, tracked=_is_first())
    else:
        environment.apply()
        try:
            launch(load_params(), int(sys.argv[sys.argv.index(_MACHINE) + 1]) if _MACHINE in sys.argv else 0)
        except UserError as error:
            fail(error)
