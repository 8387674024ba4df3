"""Episodes that have ended cost nothing more, and the others never notice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llarp.config import load_params
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy

TASKS = [
    SimpleNamespace(instruction=text, episode_id=str(number))
    for number, text in enumerate(("Find a ball", "Bring an apple to the sofa, please", "Swap them", "Go to the sink"))
]
LENGTHS = (2, 5, 1, 4)


@pytest.fixture(scope="module")
def policy():
    config = load_params().policy
    torch.manual_seed(0)
    # Sampling, because an untrained policy's best action hardly depends on what it sees.
    return LLaRPPolicy(load_backbone(config), config, (4, 8), sampling_seed=4)


def run(policy, chosen, features_TBPD):
    """Actions of each episode until it ends after its length."""
    state, running_B = policy.start([TASKS[number] for number in chosen]), np.ones(len(chosen), bool)
    actions = {number: [] for number in chosen}
    rows_read = []
    for step, features_BPD in enumerate(features_TBPD[: max(LENGTHS[number] for number in chosen)], 1):
        before = state.cache.lengths.copy()
        actions_B, state = policy.act(features_BPD[list(chosen)], state, running_B)
        rows_read.append(int((state.cache.lengths > before).sum()))
        for slot in np.flatnonzero(running_B):
            actions[chosen[slot]].append(int(actions_B[slot]))
            running_B[slot] = step < LENGTHS[chosen[slot]]
    return actions, rows_read


def test_actions_are_those_of_the_episode_alone(policy):
    features_TBPD = np.random.default_rng(0).normal(size=(5, 4, 4, 8)).astype(np.float16)
    together, rows_read = run(policy, (0, 1, 2, 3), features_TBPD)
    assert rows_read == [4, 3, 2, 2, 1]
    for number, length in enumerate(LENGTHS):
        alone, _ = run(policy, (number,), features_TBPD)
        assert alone == {number: together[number]}
        assert len(together[number]) == length
