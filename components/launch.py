"""Starts the ranks of a stage with `accelerate launch`; each of them is the stage's module with `--rank`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.stage import ERROR_FILE, Run, begin, fail, main
from llarp.config import Params, load_params
from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.launch import Together

RANK = "--rank"
_PATIENCE_S = 60.0
"""How long ranks may go on after one of them has told of bad input."""


def main_of_ranks(stage: str, run: Run, launch: Callable[[Params], None]) -> None:
    """Runs a stage in the current folder as a program: its ranks, or one of them; the first rank is tracked.

    Args:
        stage: its name in dvc.yaml.
        run: what a rank does.
        launch: starts the ranks of this machine.

    """
    if RANK in sys.argv:
        main(stage, run, tracked=os.environ.get("RANK", "0") == "0")
    else:
        begin()
        try:
            launch(load_params())
        except UserError as error:
            fail(error)


def launch_ranks(module: str, config: "Together", machine: int = 0, arguments: tuple[str, ...] = ()) -> None:
    """Runs the ranks of a machine and waits for them.

    Args:
        module: of the stage.
        config: how many there are.
        machine: number of this one.
        arguments: of each rank, after `--rank`.

    Raises:
        UserError: of a rank.
        SystemExit: any other failure, with its exit code.

    """
    from llarp.launch import check_port, launch_command, launch_environment, wait_for_first

    command = launch_command(module, [RANK, *arguments], config, machine)
    if machine:
        wait_for_first(config)
    elif config.machines > 1:
        check_port(config)
        print(f"Waiting for the other {config.machines - 1} of {config.machines} machines.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder) / "error"
        variables = {**launch_environment(), ERROR_FILE: str(error)}
        code = _wait(subprocess.Popen(command, env=variables), error)
        if error.exists():
            raise UserError(error.read_text())
    if code:
        raise SystemExit(code)


def _wait(launcher: subprocess.Popen, error: Path) -> int:
    """Exit code of the launcher of ranks; when this program is asked to end, the ranks are, and clear up."""
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
