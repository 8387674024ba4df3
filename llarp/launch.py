"""How `accelerate launch` is called so that it really starts as many processes as it should."""

import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from llarp.errors import UserError

_PERIOD_S = 2.0
_MEETING_S = 24 * 3600
"""How long the first machine waits for the others."""


class Together(Protocol):
    """Parameters of processes that work together, as `TrainConfig` has them."""

    @property
    def processes(self) -> int:
        """Over all machines."""

    @property
    def machines(self) -> int:
        """1: nobody is waited for."""

    @property
    def address(self) -> str | None:
        """HOST:PORT of the first machine."""

    @property
    def mixed_precision(self) -> str:
        """None or bf16."""


def launch_command(module: str, arguments: Sequence[str], config: Together, machine: int = 0) -> list[str]:
    """Command line that runs `python -m module arguments...` in each of this machine's ranks.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing (1.15). Only its flag
    `--multi_gpu` leads to torch's launcher; with `launch_environment` the ranks then use the CPU and gloo.

    Args:
        module: what a rank runs.
        arguments: of the module.
        config: processes and machines.
        machine: number of this machine; the first, 0, is the one at `config.address`.

    Raises:
        UserError: the processes cannot be shared out, or machines cannot find each other.

    """
    several = ["--multi_gpu"] if config.processes > 1 else []
    return [
        sys.executable, "-m", "accelerate.commands.launch", *several,
        "--num_processes", str(config.processes), *_machines(config, machine),
        "--mixed_precision", "no", "--dynamo_backend", "no", "--module", module, *arguments,
    ]  # fmt: skip


def check_machines(config: Together) -> None:
    """UserError when the processes cannot be shared out, or machines cannot find each other."""
    _machines(config, 0)


def check_port(config: Together) -> None:
    """UserError when the port on which this machine, the first, waits for the others is taken."""
    _, port = _endpoint(config)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a training that has just ended is no hindrance
        try:
            one.bind(("", port))
        except OSError as error:
            raise UserError(f"port {port} is taken", "train.address", "choose another, on every machine") from error


def wait_for_first(config: Together) -> None:
    """Until the first machine trains, which may have much to do before; another one cannot begin without it."""
    host, port = _endpoint(config)
    told = False
    while True:
        try:
            socket.create_connection((host, port), timeout=_PERIOD_S).close()
            return
        except OSError as error:
            if not told:
                print(f"Waiting for the first machine at {host}:{port} ({error}).", flush=True)
            told = True
            time.sleep(_PERIOD_S)


def launch_environment() -> dict[str, str]:
    """Environment of that command: one thread per rank, threads that sleep while they wait, the CPU without a GPU."""
    import torch

    cpu = {} if torch.cuda.is_available() else {"ACCELERATE_USE_CPU": "true"}
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **cpu}


def _machines(config: Together, machine: int) -> list[str]:
    if config.machines == 1:
        if machine:
            raise UserError("there is only one machine", "train.machines", "set it, the same on every machine")
        return ["--num_machines", "1", "--main_process_port", "0"]
    if config.processes % config.machines:
        raise UserError(
            f"{config.processes} processes cannot be shared out evenly over {config.machines} machines",
            "train.processes", "choose a multiple of train.machines",
        )  # fmt: skip
    if not 0 <= machine < config.machines:
        raise UserError(f"there is no machine {machine}", "train.machines", f"choose 0 to {config.machines - 1}")
    host, port = _endpoint(config)
    return [
        "--num_machines", str(config.machines), "--machine_rank", str(machine),
        "--main_process_ip", host, "--main_process_port", str(port), "--rdzv_conf", f"timeout={_MEETING_S}",
    ]  # fmt: skip


def _endpoint(config: Together) -> tuple[str, int]:
    """Host and port of the first machine."""
    host, _, port = (config.address or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        what = "unset" if config.address is None else f"{config.address!r} is no address of the first machine"
        raise UserError(what, "train.address", "write it as HOST:PORT")
    return host, int(port)
