"""Batches of cloning: every episode once per epoch, even work, the same instructions on the same rank."""

import numpy as np
import pytest
import torch
from toy_training import POLICY, SHAPE, TRAIN, data

from llarp.learn.algorithm import Share
from llarp.learn.cloning import Cloning, epoch_batches
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy, Trajectories


@pytest.mark.parametrize(("count", "batch"), [(1000, 64), (64, 64), (5, 64), (65, 64), (1, 1), (100, 7)])
def test_every_episode_comes_once_per_epoch(count, batch):
    batches = epoch_batches(count, batch, seed=1, epoch=0)
    assert sorted(episode for step in batches for episode in step) == list(range(count))
    assert len(batches) == -(-count // batch) and all(0 < len(step) <= batch for step in batches)


def test_epochs_and_seeds_differ_and_repeat():
    assert epoch_batches(1000, 64, 1, 0) == epoch_batches(1000, 64, 1, 0)
    assert epoch_batches(1000, 64, 1, 0) != epoch_batches(1000, 64, 1, 1) != epoch_batches(1000, 64, 2, 1)


def test_steps_and_ranks_have_alike_numbers_of_frames():
    """Else one rank waits for the other in every step."""
    lengths = np.sort(np.random.default_rng(0).integers(1, 16, 64 * 20))
    frames = np.array(
        [[lengths[Share(rank, 2).of(step)].sum() for rank in range(2)] for step in epoch_batches(1280, 64, 1, 0)]
    )
    assert np.abs(frames / frames.mean() - 1).max() < 0.07
    shuffled = np.random.default_rng(0).permutation(lengths).reshape(20, 2, 32).sum(2)
    assert np.abs(shuffled / shuffled.mean() - 1).max() > 0.15


def test_a_rank_meets_the_same_part_of_the_data_in_every_epoch():
    """Else every rank would read nearly every instruction."""
    seen = [
        {episode for step in epoch_batches(1000, 64, 1, epoch) for episode in Share(0, 2).of(step)} for epoch in (0, 1)
    ]
    assert len(seen[0]) == pytest.approx(500, abs=40)
    assert len(seen[0] & seen[1]) > 0.9 * len(seen[0])


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 9])
def test_shares_are_the_whole(ranks):
    items = list(range(7))
    assert sorted(item for rank in range(ranks) for item in Share(rank, ranks).of(items)) == items


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return LLaRPPolicy(load_backbone(POLICY), POLICY, SHAPE)


def test_a_batch_holds_the_demonstrations(policy):
    demonstrations, store = data()
    batch = Cloning(TRAIN, policy, demonstrations, store, 3, Share()).batch(0)
    trajectories, first = batch.trajectories, 0
    assert len(trajectories.instructions) == 8 and sum(trajectories.lengths) == len(batch.actions_N)
    for instruction, length in zip(trajectories.instructions, trajectories.lengths, strict=True):
        frames = slice(first, first + length)
        first = frames.stop
        assert any(
            found.instruction == instruction
            and found.actions == batch.actions_N[frames].tolist()
            and np.array_equal(store.get(found.keys)[0], trajectories.features_NPD[frames])
            for found in demonstrations
        )


def test_the_loss_sums_over_frames(policy):
    """Recomputed from each episode alone."""
    demonstrations, store = data()
    algorithm = Cloning(TRAIN, policy, demonstrations, store, 3, Share())
    batch = algorithm.batch(0)
    sums = algorithm.loss(batch)
    total, correct, first = 0.0, 0, 0
    for instruction, length in zip(batch.trajectories.instructions, batch.trajectories.lengths, strict=True):
        frames = slice(first, first + length)
        first = frames.stop
        before_T = batch.trajectories.previous_N[frames]
        assert before_T.tolist() == [len(policy.actions), *batch.actions_N[frames].tolist()[:-1]]
        alone = Trajectories([instruction], [length], batch.trajectories.features_NPD[frames], before_T)
        logits_TA = policy.evaluate(alone)[0].detach().log_softmax(1)
        total -= float(logits_TA.gather(1, batch.actions_N[frames][:, None]).sum())
        correct += int((logits_TA.argmax(1) == batch.actions_N[frames]).sum())
    assert sums.num_frames == len(batch.actions_N) == first
    assert sums.metrics == {"bc/loss": pytest.approx(total, rel=1e-5), "bc/accuracy": correct}
    assert float(sums.loss.detach()) == pytest.approx(total, rel=1e-5)


def test_the_digest_follows_what_is_learnt_from(policy):
    def digest(content):
        return Cloning(TRAIN, policy, *content, 3, Share()).validate()

    demonstrations, store = data()
    assert digest((demonstrations, store)) == digest((demonstrations[::-1], store))
    assert digest((demonstrations[1:], store)) != digest((demonstrations, store))
    changed = type(store)(*SHAPE)
    keys = [key for found in demonstrations for key in found.keys]
    features, _ = store.get(keys)
    changed.add(keys, features + 1)
    assert digest((demonstrations, changed)) != digest((demonstrations, store))
