import os
import subprocess
import sys

import pytest

from components.parallel import map_jobs
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
    from llarp.tasks import store

    result = run(load_params(root / "presets" / "test.yaml"), Paths(tmp_path))
    assert store.read(Paths(tmp_path).release) == []
    assert "release.source is null" in result.summary


def test_episodes_do_not_depend_on_the_number_of_processes(tmp_path, root):
    from components.episodes import run

    params = load_params(root / "presets" / "test.yaml")
    for workers in (1, 2):
        config = params.episodes.model_copy(update={"workers": workers, "train": 60, "per_split": 2})
        run(params.model_copy(update={"episodes": config}), Paths(tmp_path / str(workers)))
    one, two = (sorted((tmp_path / name / "data" / "episodes").iterdir()) for name in "12")
    assert len(one) == 12
    assert [path.name for path in one] == [path.name for path in two]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_results_come_in_the_order_of_the_jobs():
    jobs = list(range(7))
    assert list(map_jobs(str, jobs, 2, "counted", lambda job: 1, "job")) == [str(job) for job in jobs]
    assert list(map_jobs(str, [], 2, "counted", lambda job: 1, "job")) == []
