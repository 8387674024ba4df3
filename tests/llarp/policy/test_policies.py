"""Every policy keeps the contract: an episode gets the same actions whoever shares its batch."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS, MINILM, tiny_llama
from safetensors.torch import load_file, save_file

from llarp.errors import UserError
from llarp.policy.backbones import load_backbone
from llarp.policy.baselines import Blind, PlanPolicy, RandomPolicy
from llarp.policy.llarp import LLaRPPolicy, Trajectories, previous_actions
from llarp.tasks.skills import INDEX, NAMES, SKILLS, Skill

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


@pytest.fixture(scope="module")
def minilm():
    return load_backbone(MINILM)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = tiny_llama(tmp_path_factory.mktemp("llama"))
    return load_backbone(config), config


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
        assert all(name.startswith(("observation.", "action.", "previous.")) for name in names)

    def test_features_of_another_encoder_are_refused(self, policy):
        with pytest.raises(UserError, match=r"\(2, 5\).*\(4, 5\)"):
            policy.act(np.zeros((1, 2, 5), np.float16), policy.start(TASKS[:1]), np.ones(1, bool))
        with pytest.raises(UserError, match=r"\(4, 6\)"):
            policy.evaluate(Trajectories(["go"], [1], np.zeros((1, 4, 6), np.float16), NO_ACTIONS[:1]))


class TestLLaRPOnMiniLM(LLaRPContract):
    @pytest.fixture
    def policy(self, minilm):
        return make(minilm, MINILM.model_copy(update={"hidden": 32}))


class TestLLaRPOnADecoder(LLaRPContract):
    @pytest.fixture
    def policy(self, llama):
        return make(*llama)


class TestResampledWithPreviousActions(LLaRPContract):
    """Three tokens per frame and one for the action before."""

    @pytest.fixture
    def policy(self, llama):
        backbone, config = llama
        return make(backbone, config.model_copy(update={"visual_tokens": 3, "previous_action": True}))

    def test_what_was_done_before_matters(self, policy):
        other = replace(WHOLE, previous_N=np.zeros_like(NO_ACTIONS))
        assert (policy.evaluate(other)[0] - policy.evaluate(WHOLE)[0]).abs().max() > 0.1

    def test_every_visual_token_matters(self, policy):
        assert policy.tokens_per_frame == 4
        for token in range(SHAPE[0]):
            changed = FEATURES_BTPD.reshape(-1, *SHAPE).copy()
            changed[:, token] += 1
            assert (policy.evaluate(replace(WHOLE, features_NPD=changed))[0] - policy.evaluate(WHOLE)[0]).abs().max() > 0.01

    def test_one_visual_token_cannot_become_several(self, llama):
        backbone, config = llama
        with pytest.raises(UserError, match="policy.visual_tokens"):
            LLaRPPolicy(backbone, config.model_copy(update={"visual_tokens": 2}), (1, 5))


class TestSampling(PolicyContract):
    @pytest.fixture
    def policy(self, llama):
        return make(*llama, sampling_seed=1)

    def test_it_draws_as_often_as_probable(self, llama):
        policy = make(*llama, sampling_seed=1)
        torch.nn.init.normal_(policy.adapters.action.actor.weight, std=0.3)
        same = [Asked("go", str(number)) for number in range(2000)]
        features = np.repeat(FEATURES_BTPD[:1, 0], len(same), 0)
        drawn, _ = policy.act(features, policy.start(same), np.ones(len(same), bool))
        logits, _ = policy.evaluate(Trajectories(["go"], [1], FEATURES_BTPD[0, :1], NO_ACTIONS[:1]))
        expected = logits[0].softmax(0).detach().numpy()
        assert np.abs(np.bincount(drawn, minlength=70) / len(same) - expected).max() < 0.04

    def test_another_seed_draws_otherwise(self, llama):
        def flat(seed):
            policy = make(*llama, sampling_seed=seed)
            torch.nn.init.zeros_(policy.adapters.action.actor.weight)
            torch.nn.init.zeros_(policy.adapters.action.actor.bias)
            return policy

        assert not np.array_equal(run(flat(1), [0, 1, 2]), run(flat(2), [0, 1, 2]))


class TestRandom(PolicyContract):
    @pytest.fixture
    def policy(self):
        return RandomPolicy(3)

    def test_it_draws_every_skill_and_seeds_and_episodes_differ(self):
        policy, tasks = RandomPolicy(3), [Asked("go", str(number)) for number in range(500)]
        drawn, _ = policy.act(None, policy.start(tasks), np.ones(500, bool))
        assert len(np.unique(drawn)) == len(SKILLS)
        assert not np.array_equal(run(RandomPolicy(4), [0, 1, 2]), run(policy, [0, 1, 2]))


class TestPlan(PolicyContract):
    @pytest.fixture
    def policy(self):
        return PlanPolicy()

    def test_it_follows_the_plan_and_stays_with_its_last_skill(self, policy):
        first, last = (INDEX[skill] for skill in TASKS[0].plan)
        assert run(policy, [0]).tolist() == [[first] + [last] * (T - 1)]

    def test_an_episode_without_a_plan_is_refused(self, policy):
        with pytest.raises(UserError, match="episode 9: has no plan"):
            policy.start([Asked("go", "9", plan=())])


class TestBlind(PolicyContract):
    @pytest.fixture
    def policy(self, llama):
        return Blind(make(*llama))

    def test_it_sees_nothing_and_needs_nothing_drawn(self, llama, policy):
        seeing = make(*llama)
        state, zeros = seeing.start(TASKS), np.zeros((len(TASKS), *SHAPE), np.float16)
        expected, _ = seeing.act(zeros, state, np.ones(3, bool))
        assert np.array_equal(run(policy, [0, 1, 2])[:, 0], expected)
        assert not policy.uses_images


class TestSavedFolder:
    @pytest.fixture
    def saved(self, llama, tmp_path):
        make(*llama).save(tmp_path / "policy")
        return tmp_path / "policy"

    def test_adapters_of_another_backbone_are_refused(self, saved, tmp_path):
        other = load_backbone(tiny_llama(tmp_path / "other", seed=9))
        with pytest.raises(UserError, match="policy.json: adapters were trained on weights"):
            LLaRPPolicy.load(saved, other)

    def test_a_policy_for_other_actions_is_refused(self, saved, llama):
        assert LLaRPPolicy.load(saved, llama[0], actions=NAMES).actions == NAMES
        with pytest.raises(UserError, match="trained for other actions: without fly; with close_cab") as error:
            LLaRPPolicy.load(saved, llama[0], actions=("fly",))
        assert "\n" not in str(error.value)
        with pytest.raises(UserError, match="trained for the same actions in another order"):
            LLaRPPolicy.load(saved, llama[0], actions=NAMES[::-1])

    def test_it_answers_with_the_actions_it_was_made_for(self, llama, tmp_path):
        policy = make(*llama, actions=("left", "right"))
        policy.save(tmp_path / "two")
        loaded = LLaRPPolicy.load(tmp_path / "two", llama[0])
        assert loaded.actions == ("left", "right")
        logits_NA, _ = loaded.evaluate(WHOLE)
        assert logits_NA.shape[1] == 2

    @pytest.mark.parametrize("name", ["policy.json", "adapters.safetensors"])
    def test_missing_and_damaged_files_are_named(self, saved, llama, name):
        (saved / name).write_bytes((saved / name).read_bytes()[:100])
        with pytest.raises(UserError, match=name):
            LLaRPPolicy.load(saved, llama[0])
        (saved / name).unlink()
        with pytest.raises(UserError, match=name):
            LLaRPPolicy.load(saved, llama[0])

    @pytest.mark.parametrize(
        ("key", "value"), [("format", 99), ("actions", [3]), ("token_shape", [1]), ("policy", {}), ("backbone", {})]
    )
    def test_other_versions_and_missing_keys_are_refused(self, saved, llama, key, value):
        meta = json.loads((saved / "policy.json").read_text())
        (saved / "policy.json").write_text(json.dumps(meta | {key: value}))
        with pytest.raises(UserError, match="policy.json"):
            LLaRPPolicy.load(saved, llama[0])

    def test_adapters_of_another_shape_are_refused(self, saved, llama):
        tensors = load_file(saved / "adapters.safetensors")
        save_file(tensors | {"observation.norm.weight": torch.ones(7)}, saved / "adapters.safetensors")
        with pytest.raises(UserError, match="adapters.safetensors: no adapters of this policy"):
            LLaRPPolicy.load(saved, llama[0])

    def test_what_stands_is_replaced_as_a_whole(self, saved, llama):
        (saved / "old").touch()
        make(*llama).save(saved)
        assert not (saved / "old").exists()
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]
