"""Reinforcement learning in several ranks as whole processes: killed, stopped, held up, given nonsense."""

import json
import signal
from pathlib import Path

import psutil
import pytest
from forked import forked
from toy_ranks import PPO, checkpoints, launched, options

pytestmark = pytest.mark.slow

UPDATES, STEPS, OPTIMISER_STEPS = 12, PPO["rollout_steps"], PPO["epochs"] * PPO["minibatches"]
"""Of the whole training; of a rollout, and of the optimiser in an update."""
SHORT = {"total_steps": 144}
"""Six updates."""


def adapters(out):
    return (out / "adapters.safetensors").read_bytes()


def logged(out):
    """Names of phases with steps, and their figures."""
    return json.loads(Path(f"{out}.metrics.json").read_text())


def fate(what, rank, updates, **more):
    """Something happens to a rank in the middle of a rollout, after so many updates of its process."""
    return {"what": what, "rank": rank, "steps": STEPS * updates + 2, **more}


def assert_nobody_is_left(out):
    """Ranks have the path in their command line."""
    left = [process for process in psutil.process_iter(["cmdline"]) if str(out) in (process.info["cmdline"] or [])]
    assert not left


def damage(out, update):
    newest = Path(f"{out}.checkpoints/ppo/step_{update:08d}/optimizer.safetensors")
    newest.write_bytes(newest.read_bytes()[:-100])


def train(out, fates=(), count=2, **params):
    """A reinforcement learning of forked ranks."""
    params["train"] = {"processes": count, "algorithm": "ppo", **params.get("train", {})}
    return forked(count, "toy_ranks:training", out, options(fates, **params))


@pytest.mark.timeout(600)
def test_after_kills_and_stops_it_ends_with_the_very_adapters_of_an_uninterrupted_training(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "policy"
    done = launched(whole, "bc+ppo")
    assert done.returncode == 0, done.stderr
    assert list(logged(whole))[-UPDATES:] == [f"ppo {24 * update}" for update in range(1, UPDATES + 1)]

    killed = launched(out, "bc+ppo", [fate("kill all", 1, updates=4)])
    assert killed.returncode < 0
    assert checkpoints(out) == [2, 4], "the last two"
    damage(out, 4)
    Path(f"{out}.checkpoints/ppo/.step_00000006.half").mkdir()  # a kill in the middle of writing leaves this

    step = {"what": "kill all", "rank": 0, "optimiser_steps": OPTIMISER_STEPS * 5 + 1}  # and those of cloning are done
    assert launched(out, "bc+ppo", [step]).returncode < 0
    assert checkpoints(out) == [4, 6], "it went on after update 2, for the checkpoint of update 4 was damaged"
    assert not list(Path(f"{out}.checkpoints/ppo").glob(".step_*"))

    stopped = launched(out, "bc+ppo", [fate("stop all", 0, updates=2)])
    assert stopped.returncode > 0
    assert checkpoints(out) == [8, 9], "of the update that was under way"

    alone = launched(out, "bc+ppo", [fate("kill itself", 1, updates=2)])
    assert alone.returncode > 0
    assert checkpoints(out) == [9, 10]
    assert_nobody_is_left(out)
    assert not out.exists()

    done = launched(out, "bc+ppo")
    assert done.returncode == 0, done.stderr
    assert list(logged(out)) == ["ppo 264", "ppo 288"]
    assert adapters(out) == adapters(whole)
    assert list(Path(f"{out}.checkpoints").iterdir()) == []


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Adapters of an uninterrupted training of six updates."""
    out = tmp_path_factory.mktemp("short") / "policy"
    done = train(out, ppo=SHORT)
    assert done.returncode == 0, done.stderr
    return adapters(out)


@pytest.mark.parametrize(
    ("what", "rank", "told"),
    [
        ("blind", 1, "encoder: features of new views are not finite — train or convert it again"),
        ("fill its disk", 0, "cannot write a checkpoint (File too large) — make room; those before it are kept"),
    ],
)
def test_what_ends_one_rank_ends_all_in_one_line_and_spares_the_checkpoints(tmp_path, short, what, rank, told):
    out = tmp_path / "policy"
    ended = train(out, [fate(what, rank, updates=5)], ppo=SHORT)
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2 and len(set(lines)) == 1 and lines[0].endswith(told), ended.stderr
    assert "Traceback" not in ended.stderr
    assert checkpoints(out) == [2, 4]
    assert train(out, ppo=SHORT).returncode == 0
    assert next(iter(logged(out))) == "ppo 120"
    assert adapters(out) == short


def test_ctrl_c_leaves_a_checkpoint_of_the_update_just_finished(tmp_path):
    stopped = train(tmp_path / "policy", [fate("interrupt itself", 0, updates=2)], count=1)
    assert stopped.returncode == 128 + signal.SIGTERM and "Traceback" not in stopped.stderr
    assert checkpoints(tmp_path / "policy") == [2, 3]


def test_a_straggler_is_cut_and_the_others_are_whole(tmp_path):
    ppo = {"num_envs": 3, "rollout_steps": 8, "total_steps": 400}
    done = train(tmp_path / "cut", [fate("slow", 2, updates=0, steps=0)], 3, ppo={**ppo, "preemption": 0.6})
    assert done.returncode == 0, done.stderr
    steps, figures = zip(*logged(tmp_path / "cut").items(), strict=True)
    assert any(row["rollout/cut"] for row in figures)
    for row in figures:
        assert row["rollout/length_min"] >= 2 and row["rollout/cut"] == (row["rollout/length_min"] < 8)
        assert 3 * row["rollout/length_mean"] == pytest.approx(8 + 8 + row["rollout/length_min"])
    taken = [round(9 * row["rollout/length_mean"]) for row in figures]
    assert sum(taken[:-1]) < 400 <= sum(taken)
    assert steps == tuple(f"ppo {min(400, sum(taken[: number + 1]))}" for number in range(len(taken)))

    ppo["total_steps"] = 144
    done = train(tmp_path / "whole", [fate("slow", 2, updates=0, steps=0)], 3, ppo={**ppo, "preemption": 1.0})
    assert done.returncode == 0, done.stderr
    assert [row["rollout/length_min"] for row in logged(tmp_path / "whole").values()] == [8, 8]
