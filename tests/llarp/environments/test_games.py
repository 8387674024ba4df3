"""Games in general: files, absent packages, progress."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llarp.config import load_params
from llarp.environments.games import GameEpisode, GameProgress, read, write
from llarp.environments.make import family, make_environment
from llarp.errors import UserError

EPISODE = GameEpisode("train-000001", "train", "go", "mission.go", "go there", "Level-v0", 2**31 - 1, ("left", "up"))


def test_missing_damaged_and_foreign_files_are_told(tmp_path):
    with pytest.raises(UserError, match="no readable Parquet"):
        read(tmp_path / "none.parquet")
    with pytest.raises(UserError, match="holds no episodes"):
        read(tmp_path)
    path = tmp_path / "part-00000.parquet"
    write(path, [EPISODE])
    assert read(path) == read(tmp_path) == [EPISODE]
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(UserError, match="holds no episodes of games of version 1"):
        read(tmp_path)
    write(path, [EPISODE])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="part-00000.parquet: no readable Parquet"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "module"), [("babyai", "minigrid"), ("atari", "ale_py")])
def test_no_evaluated_episode_begins_as_a_trained_one(name, module):
    pytest.importorskip(module, reason="needs the extra `environments`")
    environment = make_environment(load_params().model_copy(update={"environment": name}))
    simulator = environment.simulator()

    def begins(split):
        for episode in environment.generate(split, 3):
            simulator.reset(episode)
            yield simulator.view_key()[0] % 2

    assert set(begins("train")) == {1}
    assert set(begins("train_validation")) == set(begins("rephrasing")) == {0}


@pytest.mark.parametrize(("name", "module"), [("babyai", "minigrid"), ("atari", "ale_py")])
def test_an_absent_package_is_told_in_one_line(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    environment = make_environment(load_params().model_copy(update={"environment": name}))
    assert family(name).splits, "tables can be made without it"
    with pytest.raises(UserError, match=rf"environment: {name}: needs the package .*llarp\[environments\]") as error:
        environment.simulator()
    assert "\n" not in str(error.value)


def test_progress_keeps_the_best_and_rewards_it_once():
    class Counter:
        success, fraction = False, 0.0

    world, worth = Counter(), load_params().reward
    tally = GameProgress(world, worth)
    world.fraction = 0.5
    assert tally.step(True) == pytest.approx(worth.slack + 0.5 * worth.subgoal)
    world.fraction = 0.25
    assert tally.step(True) == pytest.approx(worth.slack) and tally.fraction == 0.5
    world.success = True
    assert tally.step(True) == pytest.approx(worth.slack + 0.5 * worth.subgoal + worth.success)
    assert tally.fraction == 1 and tally.success
    assert tally.step(False) == pytest.approx(worth.slack + worth.invalid) and tally.num_invalid == 1
