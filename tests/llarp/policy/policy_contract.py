"""The contract of every policy: an episode gets the same actions whoever shares its batch; and LLaRP's own."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS
from safetensors.torch import load_file

from llarp.errors import UserError
from llarp.policy.llarp import LLaRPPolicy, Trajectories, previous_actions
from llarp.tasks.skills import SKILLS, Skill

T, SHAPE = 6, (4, 5)


@dataclass(frozen=True)
class Asked:
    instruction: str
    episode_id: str
    plan: tuple[Skill, ...] = (Skill("nav", "sofa"), Skill("pick", "apple"))


TASKS = [Asked(text, str(number)) for number, text in enumerate(INSTRUCTIONS)]
FEATURES_BTPD = np.random.default_rng(0).normal(size=(len(TASKS), T, *SHAPE)).astype(np.float16)
NO_ACTIONS = np.full(len(TASKS) * T, len(SKILLS))
WHOLE = Trajectories(INSTRUCTIONS, [T] * len(TASKS), FEATURES_BTPD.reshape(-1, *SHAPE), NO_ACTIONS)


def run(policy, rows, running=None):
    """int64[rows, T] actions of some of the tasks side by side."""
    state, actions = policy.start([TASKS[row] for row in rows]), []
    for time in range(T):
        now = np.ones(len(rows), bool) if running is None else running[time]
        chosen, state = policy.act(FEATURES_BTPD[rows, time] if policy.uses_images else None, state, now)
        assert chosen.shape == (len(rows),) and chosen.dtype == np.int64
        assert ((chosen >= 0) & (chosen < len(SKILLS))).all()
        actions.append(chosen)
    return np.stack(actions, 1)


@torch.no_grad()
def lively(policy):
    """Sharpens and centres the logits of fresh adapters: actions differ between frames, rounding decides nothing."""
    actor = policy.adapters.action.actor
    torch.nn.init.normal_(actor.weight, std=30.0)
    logits_NA, _ = policy.evaluate(WHOLE)
    actor.bias -= logits_NA.mean(0)
    return policy


def make(backbone, config, **options):
    torch.manual_seed(5)
    return lively(LLaRPPolicy(backbone, config, SHAPE, **options))


class PolicyContract:
    """Inherited for each policy, which its fixture `policy` gives."""

    def test_an_episode_gets_the_same_actions_alone_and_in_any_batch(self, policy):
        together = run(policy, [0, 1, 2])
        assert np.array_equal(run(policy, [2, 0]), together[[2, 0]])
        assert np.array_equal(run(policy, [1]), together[[1]])

    def test_the_end_of_one_episode_leaves_the_others_alone(self, policy):
        running = np.array([[True, time < 2, True] for time in range(T)])
        assert np.array_equal(run(policy, [0, 1, 2], running)[[0, 2]], run(policy, [0, 1, 2])[[0, 2]])

    def test_starting_again_gives_the_same_again(self, policy):
        assert np.array_equal(run(policy, [0, 1, 2]), run(policy, [0, 1, 2]))


class LLaRPContract(PolicyContract):
    """What holds for LLaRP on any backbone."""

    parts = ("observation.", "action.", "previous.")
    """What the names of all that is saved begin with."""

    def test_stepping_equals_evaluating(self, policy):
        actions = run(policy, [0, 1, 2])
        taken = replace(WHOLE, previous_N=previous_actions(actions.tolist(), 70))
        logits_NA, values_N = policy.evaluate(taken)
        assert logits_NA.shape == (3 * T, 70) and values_N.shape == (3 * T,)
        assert np.array_equal(logits_NA.argmax(-1).reshape(3, T).numpy(), actions)
        assert len(np.unique(actions)) > 3

    def test_only_adapters_learn(self, policy):
        logits_NA, values_N = policy.evaluate(WHOLE)
        (logits_NA.sum() + values_N.sum()).backward()
        assert all(parameter.grad is not None for parameter in policy.adapters.parameters())
        assert all(parameter.grad is None for parameter in policy.backbone.model.parameters())

    def test_the_beginning_of_an_episode_is_judged_as_in_the_whole(self, policy):
        whole_BTA = policy.evaluate(WHOLE)[0].reshape(3, T, -1)
        lengths = [2, T, 1]
        some = np.concatenate([FEATURES_BTPD[row, :length] for row, length in enumerate(lengths)])
        part_NA, _ = policy.evaluate(Trajectories(INSTRUCTIONS, lengths, some, NO_ACTIONS[: len(some)]))
        expected_NA = torch.cat([whole_BTA[row, :length] for row, length in enumerate(lengths)])
        torch.testing.assert_close(part_NA, expected_NA, rtol=0, atol=0.01)

    def test_a_saved_policy_acts_the_same(self, policy, tmp_path):
        policy.save(tmp_path / "saved")
        assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["adapters.safetensors", "policy.json"]
        loaded = LLaRPPolicy.load(tmp_path / "saved")
        assert np.array_equal(run(loaded, [0, 1, 2]), run(policy, [0, 1, 2]))
        names = load_file(tmp_path / "saved" / "adapters.safetensors")
        modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "saved").iterdir()}
        assert len(modes) == 1, "who may read one file may read the other"
        assert all(name.startswith(self.parts) for name in names)

    def test_features_of_another_encoder_are_refused(self, policy):
        with pytest.raises(UserError, match=r"\(2, 5\).*\(4, 5\)"):
            policy.act(np.zeros((1, 2, 5), np.float16), policy.start(TASKS[:1]), np.ones(1, bool))
        with pytest.raises(UserError, match=r"\(4, 6\)"):
            policy.evaluate(Trajectories(["go"], [1], np.zeros((1, 4, 6), np.float16), NO_ACTIONS[:1]))
