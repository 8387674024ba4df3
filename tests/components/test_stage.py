import os
import subprocess
import sys

import pytest

from components.paths import Paths
from llarp.config import load_params


def run_stage(name, cwd, root):
    environment = {**os.environ, "PYTHONPATH": str(root), "MLFLOW_TRACKING_URI": f"sqlite:///{cwd / 'mlflow.db'}"}
    command = [sys.executable, "-m", f"components.{name}"]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def root(request):
    return request.config.rootpath


@pytest.mark.parametrize("name", ["episodes", "train"])
def test_bad_parameters_are_one_line_and_exit_code_2(tmp_path, root, name):
    text = (root / "presets" / "test.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("weight_decay: 0.01", "weight_decay: 7"))
    done = run_stage(name, tmp_path, root)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "params.yaml" in done.stderr and "train.weight_decay" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path, root):
    (tmp_path / "params.yaml").write_text((root / "presets" / "test.yaml").read_text())
    (tmp_path / "data").write_text("a file where a folder should be")
    done = run_stage("release", tmp_path, root)
    assert done.returncode == 2
    assert "data/release" in done.stderr.splitlines()[-1]
    assert (tmp_path / "data").is_file()


def test_without_a_source_the_release_is_an_empty_valid_data_set(tmp_path, root):
    from components.release import run
    from llarp.tasks.data import store

    result = run(load_params(root / "presets" / "test.yaml"), Paths(tmp_path))
    assert store.read(Paths(tmp_path).release) == []
    assert "release.source is null" in result.summary
