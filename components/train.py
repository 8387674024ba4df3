"""Stage `train`: the adapters, on as many processes as asked for.

`python -m components.train` starts the ranks with `accelerate launch`; each of them is this module with `--rank`. With
several machines, `llarp join` starts those of the others in the same way.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from components import data_versions, environment
from components.curves import Curves
from components.paths import Paths
from components.stage import ERROR_FILE, OnMetrics, Result, fail, ignore, main, stop
from llarp.config import Params, load_params
from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.learn.train import Playground, Shown

_RANK = "--rank"
_PATIENCE_S = 60.0
"""How long ranks may go on after one of them has told of bad input."""


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Trains in one rank; the first writes the policy and its curves. Goes on from a checkpoint if there is one."""
    from llarp.learn.ranks import Ranks
    from llarp.learn.train import train

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

    store = ShardStore.open(paths.features, verify=os.environ.get("LOCAL_RANK", "0") == "0")
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
    digest = hashlib.sha256(encoder.identity.encode())
    digest.update(params.model_dump_json(include={"environment", "simulator", "camera", "reward"}).encode())
    for file in sorted(paths.split("train").glob("*.parquet")):
        digest.update(file.read_bytes())
    return Playground(world, world.read(paths.split("train")), encoder, store, digest.hexdigest())


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
    from llarp.learn.launch import check_port, launch_command, launch_environment, wait_for_first

    command = launch_command("components.train", [_RANK], params.train, machine)
    if machine:
        wait_for_first(params.train)
    elif params.train.machines > 1:
        check_port(params.train)
        print(f"Waiting for the other {params.train.machines - 1} of {params.train.machines} machines.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder) / "error"
        variables = {**launch_environment(), ERROR_FILE: str(error)}
        code = _wait(subprocess.Popen(command, env=variables), error)
        if error.exists():
            raise UserError(error.read_text())
    if code:
        raise SystemExit(code)


def _wait(launcher: subprocess.Popen, error: Path) -> int:
    """Exit code of the launcher of ranks; when this program is asked to end, the ranks are, and write a checkpoint."""
    import psutil

    try:
        while True:
            try:
                return launcher.wait(1.0)
            except subprocess.TimeoutExpired:
                if error.exists() and time.time() - error.stat().st_mtime > _PATIENCE_S:
                    # A rank has given up before it has met the others, and they would wait for it for half an hour.
                    for process in psutil.Process(launcher.pid).children(recursive=True):
                        process.kill()
                    launcher.kill()
    except BaseException:
        launcher.terminate()
        launcher.wait()
        raise


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    if _RANK in sys.argv:
        main("train", run, tracked=_is_first())
    else:
        environment.apply()
        signal.signal(signal.SIGTERM, stop)
        try:
            launch(load_params())
        except UserError as error:
            fail(error)
