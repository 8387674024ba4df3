"""Shards: the same bytes however they are made, and nothing lost or doubled by a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from components import episodes, generation
from components.parallel import map_jobs
from components.paths import Paths
from llarp.config import EpisodesConfig, load_params
from llarp.errors import UserError
from llarp.tasks.data import card, store
from llarp.tasks.splits import SPLITS


@pytest.fixture(scope="module")
def params(request):
    return load_params(request.config.rootpath / "presets" / "test.yaml")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several shards of several jobs each, in this process and in those that it starts."""
    monkeypatch.setattr(generation, "JOB_EPISODES", 7)
    monkeypatch.setattr(store, "SHARD_EPISODES", 21)
    without_card(monkeypatch)


def without_card(patch):
    """What is said of the data besides their report costs seconds and has tests of its own."""
    patch.setattr(episodes, "similarities", lambda folder, params: {})
    patch.setattr(card, "write", lambda report, folder: None)


def generated(params, root, **changes):
    config = params.episodes.model_copy(update={"train": 60, "per_split": 3, "workers": 1, **changes})
    episodes.run(params.model_copy(update={"episodes": config}), Paths(root))
    return contents(root)


def contents(root):
    folder = Paths(root).episodes
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(params, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "JOB_EPISODES", 7)
        patch.setattr(store, "SHARD_EPISODES", 21)
        without_card(patch)
        return generated(params, tmp_path_factory.mktemp("whole"))


def test_every_split_is_a_folder_of_shards(whole):
    assert {f"train/part-{number:05d}.parquet" for number in range(3)} < whole.keys()
    assert {f"{split}/part-00000.parquet" for split in SPLITS} < whole.keys()


@pytest.mark.parametrize("workers", [2, 3])
def test_bytes_do_not_depend_on_the_number_of_processes(params, tmp_path, whole, workers):
    assert generated(params, tmp_path, workers=workers) == whole


def test_a_cluster_of_dask_makes_the_same_bytes(params, tmp_path, whole):
    pytest.importorskip("distributed")
    assert generated(params, tmp_path, workers=2, backend="dask") == whole


def test_a_scheduler_is_found_by_its_address(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert list(map_jobs(str, range(5), 1, "counted", lambda job: 1, "job", "dask", address)) == list("01234")


def test_a_backend_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray is not installed — pip install 'llarp\[ray\]', or use loky"):
        list(map_jobs(str, [1], 1, "counted", lambda job: 1, "job", "ray"))


def test_results_come_in_the_order_of_the_jobs():
    jobs = list(range(7))
    assert list(map_jobs(str, jobs, 2, "counted", lambda job: 1, "job")) == [str(job) for job in jobs]
    assert list(map_jobs(str, [], 2, "counted", lambda job: 1, "job")) == []


PROGRAM = """
import sys
from pathlib import Path
from components import generation
from components.paths import Paths
from components.episodes import run
from llarp.config import load_params
from llarp.tasks.data import store

generation.JOB_EPISODES, store.SHARD_EPISODES = 7, 21
params = load_params(sys.argv[1])
config = params.episodes.model_copy(update={"train": 60, "per_split": 3, "workers": 2})
run(params.model_copy(update={"episodes": config}), Paths(Path(sys.argv[2])))
"""


def test_a_killed_generation_goes_on_where_it_was(params, tmp_path, whole, request, monkeypatch):
    """A real process and its workers get SIGKILL as soon as the first shard is finished."""
    preset = request.config.rootpath / "presets" / "test.yaml"
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(preset), str(tmp_path)], start_new_session=True)
    left = Paths(tmp_path).unfinished_episodes
    while not list(left.glob("*/train/part-*.parquet")):
        assert child.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not Paths(tmp_path).episodes.exists()
    (finished,) = {path.parent for path in left.glob("*/train/part-*.parquet")}
    (finished / ".part-00009.parquet.x").mkdir()  # as a kill in the middle of writing leaves it
    (finished / ".part-00009.parquet.x" / "part-00009.parquet").write_text("half")
    (left / "of other settings").mkdir()

    made = []
    monkeypatch.setattr(generation, "make", lambda job, make=generation.make: made.append(job) or make(job))
    assert generated(params, tmp_path) == whole
    assert sum(job.count for job in made) < 60 + 3 * len(SPLITS) - 21 + 1  # the finished shard was not made again
    assert not list(left.iterdir())


def test_a_damaged_shard_is_made_again(params, tmp_path, whole):
    config = params.episodes.model_copy(update={"train": 60, "per_split": 3, "workers": 1})
    folder = Paths(tmp_path).unfinished_episodes / generation.fingerprint(params.seed, config)
    generation.write_shards(folder, params.seed, config)
    shard = store.shard_path(folder / "train", 1)
    shard.write_bytes(shard.read_bytes()[:-100])
    shutil.copy(store.shard_path(folder / "train", 2), store.shard_path(folder / "train", 0))  # too few episodes
    assert generated(params, tmp_path) == whole


def test_another_seed_setting_or_layout_starts_anew(params, tmp_path, monkeypatch):
    more = {"workers": 7, "backend": "dask", "address": "tcp://x", "extra": "elsewhere"}
    config = params.episodes
    first = generation.fingerprint(1, config)
    assert generation.fingerprint(1, config.model_copy(update=more)) == first
    others = {generation.fingerprint(2, config), generation.fingerprint(1, config.model_copy(update={"layouts": 9}))}
    (tmp_path / "layouts.json").write_text("{}")
    monkeypatch.setenv("LLARP_LAYOUTS", str(tmp_path / "layouts.json"))
    others.add(generation.fingerprint(1, config))
    assert len(others | {first}) == 4


def test_only_what_decides_the_episodes_makes_the_stage_stale(request):
    """dvc.yaml names the parameters one by one: this keeps it and EpisodesConfig together."""
    stage = yaml.safe_load((request.config.rootpath / "dvc.yaml").read_text())["stages"]["episodes"]
    fields = EpisodesConfig.model_fields.keys() - generation.HOW
    named = {key for key in stage["params"] if key.startswith("episodes.")}
    assert "seed" in stage["params"] and named == {f"episodes.{name}" for name in fields}
