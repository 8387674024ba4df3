"""Ranks for tests, made by forking a process that has imported everything: what a launcher does, in less time.

As a program: `python -m forked COUNT MODULE:FUNCTION ARGUMENT...` calls the function in every rank, and the module's
`before_fork`, if it has one, once before.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

from llarp.errors import UserError
from llarp.launch import launch_environment

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LIMIT_S = 200


def variables():
    """Environment in which the modules of this folder are found."""
    return {**launch_environment(), "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}


def run(command, cwd=None, environment=None):
    """Runs a command to its end; after too long a time it and what it has started are killed."""
    with subprocess.Popen(
        command, cwd=cwd, env=environment or variables(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def forked(count, function, *arguments):
    """Calls a function, named as `module:function`, in so many ranks. UserError is a line and exit code 2."""
    return run([sys.executable, "-m", "forked", str(count), function, *map(str, arguments)])


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _rank(rank, count, port, function, arguments):
    os.environ.update(
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
         "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    )  # fmt: skip
    code = 1
    try:
        function(*arguments)
        code = 0
    except UserError as error:
        os.write(2, f"error: {error}\n".encode())  # in one piece, as others write too
        code = 2
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    count, (module, name), port = int(sys.argv[1]), sys.argv[2].split(":"), free_port()
    imported = importlib.import_module(module)
    function = getattr(imported, name)
    getattr(imported, "before_fork", lambda: None)()
    for rank in range(count):
        if not os.fork():
            _rank(rank, count, port, function, sys.argv[3:])
    sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) % 256 for _ in range(count)))
