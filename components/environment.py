"""Variables that every process of the project starts with. What the user has set already is left alone.

The Makefile and the Dockerfile set the first group too, because it must stand before Python starts.
"""

import os
import sys
from pathlib import Path

from llarp.errors import UserError

STATE = ".llarp"
"""Folder in the project for databases, checkpoints and whatever else is no output of a stage."""

THREADS = {
    "OMP_NUM_THREADS": "1",  # one thread per process: processes are what the cores are shared among
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow everything else 70 times
    "TOKENIZERS_PARALLELISM": "false",
}
PRIVACY = {
    "DO_NOT_TRACK": "true",  # huggingface_hub, mlflow, prefect
    "DVC_NO_ANALYTICS": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
SERVERS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # starting takes up to 40 s on two busy cores
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # In memory, as it is by default, a slot whose server dies is held for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def defaults(root: Path) -> dict[str, str]:
    """The variables for a project folder; both databases are absolute, so that every process means the same ones."""
    state = root.resolve() / STATE
    return {
        **THREADS,
        **PRIVACY,
        **SERVERS,
        "PREFECT_HOME": str(state / "prefect"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{state / 'mlflow.db'}",
    }


def apply(root: str | Path = ".") -> None:
    """Sets what is not set yet and puts this Python's programs first on the path, for DVC calls `python`."""
    for name, value in defaults(Path(root)).items():
        os.environ.setdefault(name, value)
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != programs:
        os.environ["PATH"] = os.pathsep.join(filter(None, (programs, path)))


def make_state(root: str | Path = ".") -> None:
    """Makes the folders of both databases, which Prefect's server does not; UserError when that fails."""
    for folder in (Path(root) / STATE, Path(os.environ["PREFECT_HOME"])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot be made ({error.strerror})", folder, "mend its permissions") from error
