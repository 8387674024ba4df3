"""Checkpoints: whole, the last few, damage recognised, the optimiser's state kept exactly."""

import json
import logging

import pytest
import torch

from llarp.learn.checkpoint import Checkpoints, flatten, load_snapshot, snapshot, unflatten


def make(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def learn(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()


def save(kept, step, model, optimizer):
    return kept.save(snapshot(step, [{"steps": step}], model, optimizer))


def restore(kept, model, optimizer):
    """The step that it goes on from; 0 when there is nothing."""
    saved = kept.newest()
    if saved is None:
        return 0
    load_snapshot(saved, model, optimizer)
    assert saved.ranks == [{"steps": saved.step}]
    return saved.step


def test_going_on_equals_never_stopping(tmp_path):
    model, optimizer = make()
    learn(model, optimizer, 3)
    kept = Checkpoints(tmp_path / "c", "print", keep=2)
    save(kept, 3, model, optimizer)
    again, its_optimizer = make(seed=1)
    assert restore(kept, again, its_optimizer) == 3
    learn(model, optimizer, 2)
    learn(again, its_optimizer, 2)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), again.parameters(), strict=True))


def test_the_state_of_the_optimiser_round_trips():
    model, optimizer = make()
    learn(model, optimizer, 2)
    flat = flatten(optimizer, model)
    assert set(flat) == {
        f"{name}/{key}" for name, _ in model.named_parameters() for key in ("step", "exp_avg", "exp_avg_sq")
    }
    other, its_optimizer = make()
    unflatten(flat, its_optimizer, other)
    assert all(torch.equal(flat[name], tensor) for name, tensor in flatten(its_optimizer, other).items())


def test_the_last_ones_are_kept_and_the_newest_is_pointed_at(tmp_path):
    model, optimizer = make()
    kept = Checkpoints(tmp_path, "print", keep=2)
    for step in (1, 2, 3):
        save(kept, step, model, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step_00000002", "step_00000003"]
    assert (tmp_path / "last").read_text() == "step_00000003\n"


@pytest.mark.parametrize("harm", ["flip", "cut", "missing", "state", "no state"])
def test_the_one_before_a_damaged_one_is_taken(tmp_path, harm, caplog):
    model, optimizer = make()
    kept = Checkpoints(tmp_path, "print", keep=2)
    save(kept, 1, model, optimizer)
    learn(model, optimizer, 1)
    newest = save(kept, 2, model, optimizer)
    file = newest / ("state.json" if "state" in harm else "adapters.safetensors")
    content = file.read_bytes()
    if harm in ("missing", "no state"):
        file.unlink()
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if harm == "flip" else content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        assert restore(kept, *make()) == 1
    assert "step_00000002 is damaged" in caplog.text


def test_of_another_training_nothing_is_taken_and_nothing_left(tmp_path):
    model, optimizer = make()
    save(Checkpoints(tmp_path, "old", keep=2), 5, model, optimizer)
    new = Checkpoints(tmp_path, "new", keep=2)
    assert restore(new, model, optimizer) == 0
    new.clear()
    assert list(tmp_path.iterdir()) == []


def test_clearing_spares_this_training_unless_all_is_asked(tmp_path):
    model, optimizer = make()
    kept = Checkpoints(tmp_path, "print", keep=2)
    save(kept, 1, model, optimizer)
    kept.clear()
    assert restore(kept, model, optimizer) == 1
    kept.clear(all_trainings=True)
    assert list(tmp_path.iterdir()) == []


def test_no_pickle_is_written(tmp_path):
    folder = save(Checkpoints(tmp_path, "print", keep=1), 1, *make())
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapters.safetensors", "optimizer.safetensors", "state.json"
    ]  # fmt: skip
    assert json.loads((folder / "state.json").read_text())["step"] == 1
