"""Runs the simulators' contract with the real habitat-sim: `python -m llarp.sim.habitat.selftest` in a clone.

It checks what is installed, exports layouts to a temporary folder, starts habitat-sim without a window, runs the
contract tests, compares plans with the embedded simulator, and ends with a verdict: exit code 0 only if all went well.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llarp.errors import UserError

LAYOUTS = ("gen_train_0000", "gen_train_0001", "gen_train_0002", "v3_sc0_staging_00", "v3_sc3_staging_00")
"""Those that the contract plays, and one of each released family."""
SCENES = "LLARP_HABITAT_SCENES"
"""Environment variable that tells the tests which exported scenes to run on."""
TESTS = Path("tests/llarp/sim/habitat/test_with_habitat.py")
NUMPY = (2, 4)
"""habitat-sim wants an older one."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="contract tests of the simulators on the real habitat-sim")
    parser.add_argument("--keep", type=Path, help="folder for the exported scenes; none: a temporary one")
    try:
        raise SystemExit(run(parser.parse_args().keep))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(keep: Path | None = None) -> int:
    """Exit code of the contract tests; UserError when something to run them with is missing."""
    from llarp.sim.habitat.export import export
    from llarp.sim.habitat.library import CPU, device, load

    if not TESTS.exists():
        raise UserError("is not here", TESTS, "run in the folder that `git clone` made")
    numpy = version("numpy")
    print(f"python {platform.python_version()}, numpy {numpy}")
    if tuple(map(int, numpy.split(".")[:2])) >= NUMPY:
        print("warning: habitat-sim wants numpy < 2.4")
    habitat, _ = load()
    print(f"habitat-sim {_version(habitat)} (0.3.4 calls itself 0.3.3)")
    print(f"draws on {'the CPU (Mesa)' if device() == CPU else 'the GPU'}: gpu_device_id = {device()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scenes = export(LAYOUTS, (keep or Path(folder) / "scenes"))
        print(f"exported {', '.join(LAYOUTS)} to {scenes.parent}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(TESTS)]
        done = subprocess.run(command, env={**os.environ, SCENES: str(scenes)}, check=False)
    print("PASSED: habitat-sim keeps the contract" if done.returncode == 0 else "FAILED: see above")
    return done.returncode


def _version(habitat: object) -> str:
    try:
        return str(getattr(habitat, "__version__", None) or version("habitat-sim"))
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    main()
