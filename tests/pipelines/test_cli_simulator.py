"""`llarp simulator`: export, and comparison without habitat-sim."""

import importlib.util
import subprocess
import sys

import pytest

from llarp.config import load_params
from llarp.sim.rules import RuleWorld
from llarp.tasks.data import store
from llarp.tasks.generator import generate


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "episodes.parquet"
    params = load_params()
    store.write(path, list(generate("new_scenes", 2, params.seed, params.episodes, world=RuleWorld())))
    return path


def llarp(root, *arguments):
    command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "simulator", *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_simulators_are_compared(request, episodes):
    done = llarp(request.config.rootpath, "compare", episodes, "--second", "rules", "--steps", 5)
    assert done.returncode == 0, done.stderr
    assert "goals reached by the plans: 2 in embedded, 2 in rules" in done.stdout


def test_a_missing_habitat_sim_is_one_line(request, episodes, tmp_path):
    if importlib.util.find_spec("habitat_sim") is not None:
        pytest.skip("habitat-sim is installed here")
    (tmp_path / "x.scene_dataset_config.json").write_text("{}")
    scenes = tmp_path / "x.scene_dataset_config.json"
    done = llarp(request.config.rootpath, "compare", episodes, "--scenes", scenes)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "environment.habitat.yml" in done.stderr


def test_an_unknown_layout_writes_nothing(request, tmp_path):
    done = llarp(request.config.rootpath, "export", "castle", "--out", tmp_path / "out")
    assert done.returncode == 2 and "castle" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
