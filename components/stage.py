"""What all stages share: how one is run as a program."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from components import environment
from components.paths import Paths
from components.unsent import in_a_line
from llarp.config import Params, load_params
from llarp.errors import UserError

OnMetrics = Callable[[int, dict[str, float]], None]
"""Called with a step and its metrics, while a stage works."""

ERROR = "error: "
"""Begins the one line that tells of bad input, on stderr."""
UNREACHABLE = "unreachable: "
"""Begins the line that tells of a server that did not answer: the same may do another time."""
FAILED = "failed: "
"""Begins the line that tells of any other exception."""
BAD_INPUT = 2
"""Exit code of bad input."""
CRASHED = 1
"""Exit code after an exception."""
ERROR_FILE = "LLARP_ERROR_FILE"
"""Variable with a file in which a rank tells its launcher of bad input."""


def ignore(step: int, metrics: dict[str, float]) -> None:
    """An `OnMetrics` for whoever wants no curves."""


@dataclass(frozen=True)
class Result:
    """What a stage has to say when it is done."""

    summary: str
    """One line."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()
    """Files to keep with the tracked run."""


Run = Callable[[Params, Paths, OnMetrics], Result]


def main(stage: str, run: Run, tracked: bool = True) -> None:
    """Runs a stage in the current folder as a program: bad input is one line on stderr and exit code 2.

    Args:
        stage: its name in dvc.yaml.
        run: what it does.
        tracked: whether it opens a run in MLflow; all ranks of a training but one do not.

    """
    begin()
    try:
        params, paths = load_params(), Paths()
        result = _run_tracked(stage, run, params, paths) if tracked else run(params, paths, ignore)
    except UserError as error:
        fail(error)
    except Exception as error:
        traceback.print_exc()
        begins = UNREACHABLE if is_unreachable(error) else FAILED
        print(f"{begins}{type(error).__name__}: {in_a_line(error)}", file=sys.stderr, flush=True)
        raise SystemExit(CRASHED) from None
    if result.summary:
        print(result.summary, flush=True)


def is_unreachable(error: BaseException | None) -> bool:
    """Whether an exception, or what has caused it, tells of a server that did not answer."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        origin = type(error).__module__.partition(".")[0]
        if isinstance(error, ConnectionError | TimeoutError) or origin in ("requests", "urllib3", "botocore"):
            return True
        if getattr(error, "error_code", None) in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"):  # MLflow's
            return True
        error = error.__cause__ or error.__context__
    return False


def begin() -> None:
    """What every program of a stage does first."""
    environment.apply()
    signal.signal(signal.SIGTERM, stop)


def _run_tracked(stage: str, run: Run, params: Params, paths: Paths) -> Result:
    from components import tracking

    with tracking.stage_run(stage, params, paths) as tracked:
        result = run(params, paths, tracked.log)
        tracked.figures(result.metrics)
        for artifact in result.artifacts:
            tracked.artifact(artifact)
    return result


def fail(error: UserError) -> NoReturn:
    """Ends the program as bad input does; one that another program has started tells that one instead."""
    if ERROR_FILE in os.environ:
        with suppress(FileExistsError), Path(os.environ[ERROR_FILE]).open("x") as file:  # the first one is the cause
            file.write(str(error))
        raise SystemExit(0)  # else the launcher of ranks would report a crash at length
    print(f"{ERROR}{error}", file=sys.stderr, flush=True)
    raise SystemExit(BAD_INPUT)


def stop(signum: int, frame: FrameType | None) -> None:
    """Ends as after an error, so that temporary files are removed and the tracked run is closed."""
    raise SystemExit(128 + signum)
