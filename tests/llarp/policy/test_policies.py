"""Every policy keeps the contract: an episode gets the same actions whoever shares its batch."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from backbones import MINILM, tiny_llama
from policy_contract import (
    FEATURES_BTPD,
    NO_ACTIONS,
    SHAPE,
    TASKS,
    WHOLE,
    Asked,
    LLaRPContract,
    PolicyContract,
    T,
    make,
    run,
)
from safetensors.torch import load_file, save_file

from llarp.errors import UserError
from llarp.policy.backbones import load_backbone
from llarp.policy.baselines import Blind, PlanPolicy, RandomPolicy
from llarp.policy.llarp import LLaRPPolicy, Trajectories
from llarp.tasks.skills import INDEX, NAMES, SKILLS


@pytest.fixture(scope="module")
def minilm():
    return load_backbone(MINILM)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = tiny_llama(tmp_path_factory.mktemp("llama"))
    return load_backbone(config), config


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
            assert (
                policy.evaluate(replace(WHOLE, features_NPD=changed))[0] - policy.evaluate(WHOLE)[0]
            ).abs().max() > 0.01

    def test_a_width_that_heads_do_not_share_out_is_refused(self, llama):
        backbone, config = llama
        with pytest.raises(UserError, match="policy.hidden: 40 is no multiple of 32"):
            LLaRPPolicy(backbone, config.model_copy(update={"visual_tokens": 2, "hidden": 40}), SHAPE)

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
