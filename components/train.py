"""Stage `train`: the adapters, on as many processes as asked for.

`python -m components.train` starts the ranks with `accelerate launch`; each of them is this module with `--rank`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from components import data_versions, environment
from components.curves import Curves
from components.paths import Paths
from components.stage import ERROR_FILE, OnMetrics, Result, fail, ignore, main
from llarp.config import Params, load_params
from llarp.errors import UserError

_RANK = "--rank"


def run(params: Params, paths: Paths, on_metrics: OnMetrics = ignore) -> Result:
    """Trains in one rank; the first writes the policy and its curves. Goes on from a checkpoint if there is one."""
    from llarp.learn import demonstrations
    from llarp.learn.trainer import train
    from llarp.vision.store import ShardStore

    store = ShardStore.open(paths.features, verify=_is_first())
    shown = demonstrations.read(paths.demonstrations)
    curves = Curves(paths.state / "curves.jsonl", on_metrics)
    train(
        params.train, params.policy, shown, store, (store.num_tokens, store.dim), paths.policy, params.seed, curves,
        paths.checkpoints,
    )  # fmt: skip
    if not _is_first():
        return Result("")
    data_versions.write_seen(paths, paths.policy)
    points = curves.points()
    curves.finish(paths.curves)
    step, last = points[-1]
    figures = ", ".join(f"{name} {value:.3g}" for name, value in last.items())
    return Result(f"Trained on {len(shown)} demonstrations for {step} steps: {figures}.")


def launch(params: Params) -> None:
    """Runs the ranks; UserError of a rank is raised here, any other failure ends the program with its exit code."""
    from llarp.learn.launch import launch_command, launch_environment

    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder) / "error"
        variables = {**launch_environment(), ERROR_FILE: str(error)}
        command = launch_command("components.train", [_RANK], params.train.processes)
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
            launch(load_params())
        except UserError as error:
            fail(error)
