"""Training learns, resumes with the very same weights, and adds up ranks rightly."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from toy_training import NAMES, POLICY, ROOT, SHAPE, TRAIN, Interrupted, changed, data, run

from llarp.errors import UserError
from llarp.launch import launch_command, launch_environment
from llarp.learn.algorithm import Share
from llarp.learn.cloning import Cloning, learning_rate
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy

STEPS = 10
"""Optimiser steps of the toy training: 40 episodes, 2 epochs, 8 at once."""


def weights(out):
    return load_file(out / "adapters.safetensors")


def assert_same(left, right):
    assert left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "policy"
    return out, run(out)


def test_it_reports_every_step_and_leaves_a_policy_alone(uninterrupted):
    out, metrics = uninterrupted
    assert list(metrics) == list(range(1, STEPS + 1))
    assert set(metrics[1]) == {
        "bc/loss", "bc/accuracy", "bc/optim/lr", "bc/optim/grad_norm", "bc/speed/steps_per_s",
        "bc/speed/trained_frames_per_s",
    }  # fmt: skip
    assert all(type(value) is float and np.isfinite(value) for row in metrics.values() for value in row.values())
    assert sorted(path.name for path in out.iterdir()) == ["adapters.safetensors", "policy.json"]
    assert list(Path(f"{out}.checkpoints").iterdir()) == []
    assert LLaRPPolicy.load(out).token_shape == SHAPE


def test_it_learns(tmp_path):
    metrics = run(tmp_path / "policy", params=changed(train={"epochs": 18.0, "log_every": 15}))
    first, last = metrics[15], metrics[90]
    assert last["bc/accuracy"] > 0.7 > 0.4 > first["bc/accuracy"]
    assert last["bc/loss"] < 0.5 * first["bc/loss"]


def test_the_seed_decides_everything(uninterrupted, tmp_path):
    run(tmp_path / "same")
    run(tmp_path / "other", params=changed(seed=4))
    assert_same(weights(tmp_path / "same"), weights(uninterrupted[0]))
    assert not np.array_equal(
        weights(tmp_path / "other")["action.actor.weight"], weights(uninterrupted[0])["action.actor.weight"]
    )


def test_resumed_training_ends_with_the_very_weights_of_an_uninterrupted_one(uninterrupted, tmp_path):
    out = tmp_path / "policy"
    with pytest.raises(Interrupted):
        run(out, stop_after=8)
    assert not out.exists()
    assert sorted(path.name for path in Path(f"{out}.checkpoints/bc").glob("step_*")) == [
        "step_00000003",
        "step_00000006",
    ]
    metrics = run(out)
    assert list(metrics) == [7, 8, 9, 10], "goes on after the checkpoint of step 6"
    assert_same(weights(out), weights(uninterrupted[0]))


def test_a_damaged_checkpoint_is_passed_over(uninterrupted, tmp_path):
    out = tmp_path / "policy"
    with pytest.raises(Interrupted):
        run(out, stop_after=8)
    newest = Path(f"{out}.checkpoints/bc/step_00000006/optimizer.safetensors")
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x00")
    assert next(iter(run(out))) == 4
    assert_same(weights(out), weights(uninterrupted[0]))


@pytest.mark.parametrize("change", ["lr", "seed", "hidden", "features"])
def test_another_training_starts_anew(tmp_path, change):
    out = tmp_path / "policy"
    with pytest.raises(Interrupted):
        run(out, stop_after=5)
    options = {
        "lr": {"params": changed(train={"lr": 1e-3})},
        "seed": {"params": changed(seed=4)},
        "hidden": {"params": changed(policy={"hidden": 40})},
        "features": {"content": data(seed=1)},
    }[change]
    with pytest.raises(Interrupted):
        run(out, stop_after=4, **options)
    assert [path.name for path in Path(f"{out}.checkpoints/bc").glob("step_*")] == ["step_00000003"]
    assert next(iter(run(out, **options))) == 4, "and is resumed itself"


def test_how_often_it_logs_or_saves_is_no_other_training(tmp_path):
    out = tmp_path / "policy"
    with pytest.raises(Interrupted):
        run(out, stop_after=4)
    metrics = run(out, params=changed(train={"log_every": 7, "checkpoint_every": 2, "prefix_cache_gib": 0.0}))
    assert list(metrics) == [7, 10]


def test_bad_input_is_told_before_anything_is_written(tmp_path):
    out = tmp_path / "policy"
    demonstrations, store = data()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="features of 1 of"):
        last = demonstrations[-1]
        run(out, content=([*demonstrations[:-1], type(last)("x", "go", [b"0" * 16], [1])], store))
    with pytest.raises(UserError, match="tokens, but 1 to 64"):
        long = type(last)("x", "go " * 80, last.keys, last.actions)
        run(out, content=([*demonstrations, long], store))
    with pytest.raises(UserError, match="nothing to learn from"):
        run(out, content=([], store))
    with pytest.raises(UserError, match="cannot write here"):
        run(tmp_path / "file" / "policy")
    with pytest.raises(UserError, match="train.processes: 2 processes wanted, 1 running"):
        run(out, params=changed(train={"processes": 2}))
    assert not out.exists()


def test_a_loss_that_is_not_finite_ends_it_and_spares_the_checkpoints(tmp_path, monkeypatch, uninterrupted):
    out, sound = tmp_path / "policy", Cloning.loss

    def broken(algorithm, batch):
        sums = sound(algorithm, batch)
        return replace(sums, loss=sums.loss * torch.nan) if algorithm.calls == 5 else sums

    def counted(algorithm, step, batch=Cloning.batch):
        algorithm.calls = step + 1
        return batch(algorithm, step)

    with monkeypatch.context() as patch:
        patch.setattr(Cloning, "loss", broken)
        patch.setattr(Cloning, "batch", counted)
        with pytest.raises(UserError, match="update 5, optimiser step 1: the loss is not finite — lower train.lr"):
            run(out)
    assert next(iter(run(out))) == 4
    assert_same(weights(out), weights(uninterrupted[0]))


def test_the_learning_rate_rises_and_falls():
    config = TRAIN.model_copy(update={"lr": 1.0, "warmup": 0.1})
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == 1.0 and 0 < rates[0] <= 0.1 and 0 <= rates[-1] < 0.01
    flat = [learning_rate(step, 100, TRAIN.model_copy(update={"warmup": 0.0})) for step in range(100)]
    assert flat[0] == TRAIN.lr


def test_shares_of_uneven_ranks_add_up_to_the_gradient_of_all():
    """Three ranks with different numbers of frames, one of them with none: sums over sums, not a mean of means."""
    demonstrations, store = data(count=2)
    config = TRAIN.model_copy(update={"batch_size": 8})
    policy = LLaRPPolicy(load_backbone(POLICY), POLICY, SHAPE, actions=NAMES)

    def gradient(share):
        policy.adapters.zero_grad()
        algorithm = Cloning(config, policy, demonstrations, store, 0, share)
        batch = algorithm.batch(0)
        if not algorithm.size(batch):
            return 0.0, 0
        sums = algorithm.loss(batch)
        sums.loss.backward()
        return policy.adapters.action.actor.weight.grad.clone(), sums.num_frames

    whole, frames = gradient(Share())
    parts = [gradient(Share(rank, 3)) for rank in range(3)]
    assert sorted(count for _, count in parts) == sorted([0, *map(len, demonstrations)])
    assert len(demonstrations[0]) != len(demonstrations[1])
    torch.testing.assert_close(sum(part for part, _ in parts) / frames, whole / frames, rtol=1e-4, atol=1e-7)


def launch(out, processes, *stop):
    config = TRAIN.model_copy(update={"processes": processes})
    command = launch_command("toy_training", [str(out), "bc", str(processes), *map(str, stop)], config)
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    return subprocess.run(
        command, env={**launch_environment(), "PYTHONPATH": path}, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one_and_resume_exactly(uninterrupted, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    torch.manual_seed(3)
    done = launch(whole, 2)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(Path(f"{whole}.metrics.json").read_text())
    for step, figures in uninterrupted[1].items():
        assert metrics[str(step)]["bc/loss"] == pytest.approx(figures["bc/loss"], rel=1e-4)
    one, two = weights(uninterrupted[0]), weights(whole)
    start = LLaRPPolicy(load_backbone(POLICY), POLICY, SHAPE, actions=NAMES).adapters.state_dict()
    moved = np.concatenate([(one[name] - start[name].numpy()).ravel() for name in one])
    apart = np.concatenate([(one[name] - two[name]).ravel() for name in one])
    assert np.linalg.norm(apart) < 1e-3 * np.linalg.norm(moved)

    stopped = launch(broken, 2, 8)
    assert stopped.returncode != 0
    assert not broken.exists()
    again = launch(broken, 2)
    assert again.returncode == 0, again.stderr
    assert list(json.loads(Path(f"{broken}.metrics.json").read_text())) == ["7", "8", "9", "10"]
    assert_same(weights(broken), two)
