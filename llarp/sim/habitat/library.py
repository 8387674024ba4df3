"""Finds habitat-sim and the device it can draw on, before it is started: a wrong device ends the whole process."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from llarp.errors import UserError

HOW = "conda env create -f environment.habitat.yml; PyPI has none, see docs/simulators.md"
CPU = -1
"""The device that draws through Mesa's EGL, without a GPU."""
GPU = 0
_PROBE = """
import habitat_sim
backend = habitat_sim.SimulatorConfiguration()
backend.scene_id, backend.gpu_device_id = "NONE", {device}
camera = habitat_sim.CameraSensorSpec()
camera.uuid = "camera"
agent = habitat_sim.agent.AgentConfiguration()
agent.sensor_specifications = [camera]
simulator = habitat_sim.Simulator(habitat_sim.Configuration(backend, [agent]))
simulator.get_sensor_observations()
simulator.close()
"""
_PROBE_S = 120
"""Longest that a probe may take."""


def load() -> tuple[ModuleType, ModuleType]:
    """The modules habitat_sim and magnum; UserError that tells how to get them where they are absent."""
    os.environ.setdefault("MAGNUM_LOG", "quiet")
    os.environ.setdefault("HABITAT_SIM_LOG", "quiet")
    try:
        import habitat_sim
        import magnum
    except ImportError as error:
        raise UserError(f"habitat-sim cannot be imported ({error})", "simulator: habitat", HOW) from error
    if not getattr(habitat_sim, "built_with_bullet", True):
        raise UserError(
            "habitat-sim was built without Bullet, which moves doors and drawers",
            "simulator: habitat",
            "install its variant withbullet, or build it with --bullet",
        )
    return habitat_sim, magnum


@cache
def device() -> int:
    """GPU where this process has one on which habitat-sim draws, else CPU; tried in a process of its own."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not any(Path("/dev").glob("nvidia[0-9]*")):
        return CPU
    return GPU if _draws(GPU) else CPU


def _draws(number: int) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE.format(device=number)],
            capture_output=True,
            timeout=_PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
