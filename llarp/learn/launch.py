"""How `accelerate launch` is called so that it really starts as many processes as it should."""

import os
import sys
from collections.abc import Sequence


def launch_command(module: str, arguments: Sequence[str], processes: int) -> list[str]:
    """Command line that runs `python -m module arguments...` in each of `processes` ranks.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing (1.15). Only its flag
    `--multi_gpu` leads to torch's launcher; with `launch_environment` the ranks then use the CPU and gloo.
    """
    several = ["--multi_gpu"] if processes > 1 else []
    return [
        sys.executable, "-m", "accelerate.commands.launch", *several,
        "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--module", module, *arguments,
    ]  # fmt: skip


def launch_environment() -> dict[str, str]:
    """Environment of that command: one thread per rank, threads that sleep while they wait, the CPU without a GPU."""
    import torch

    cpu = {} if torch.cuda.is_available() else {"ACCELERATE_USE_CPU": "true"}
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **cpu}
