"""Rollout and update agree, whatever the mixture of episodes, and with a plain forward of the whole sequence."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from toy_training import NAMES, PARAMS, POLICY, SHAPE
from toy_world import ToyEnvironment, toy_views

from llarp.learn.ppo import PPO
from llarp.learn.rollout import Collector, sample
from llarp.learn.trainer import Trainer
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy
from llarp.ranks import Ranks

sys.path.insert(0, str(Path(__file__).parents[1] / "policy"))
from backbones import MINILM, tiny_llama

STEPS, WORLDS = 10, 5
"""Rollouts end in the middle of episodes of 2 to 6 steps."""


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """By name: an encoder and a decoder, fused and as `transformers` has them."""
    decoder = tiny_llama(tmp_path_factory.mktemp("llama"))
    made = {name: load_backbone(MINILM if "encoder" in name else decoder) for name in BACKBONES}
    for name, backbone in made.items():
        if "plain" in name:
            backbone.fused = None
    return made


BACKBONES = ["encoder", "decoder", "plain encoder", "plain decoder"]


def set_up(backbone, seed=0, **options):
    """(PPO in the middle of a training, its trainer): adapters have moved, and episodes are of different ages."""
    torch.manual_seed(seed)
    config = POLICY.model_copy(update=options)
    policy = LLaRPPolicy(backbone, config, SHAPE, prefix_bytes=2**26, actions=NAMES)
    torch.nn.init.normal_(policy.adapters.action.actor.weight, std=1.0)
    environment = ToyEnvironment(PARAMS)
    played = environment.vector(environment.episodes(), WORLDS, toy_views(), (seed, 0))
    collector = Collector(policy, played, STEPS, environment.horizon)
    ranks = Ranks(Accelerator(cpu=True))
    ppo_config = PARAMS.ppo.model_copy(update={"minibatches": 3, "epochs": 2, "critic_warmup": 0, "total_steps": 10**6})
    ppo = PPO(ppo_config, policy, collector, "toy", seed, ranks)
    return ppo, Trainer(policy.adapters, ppo, ranks, None, seed, lambda *_: None)


def played_on(ppo, trainer, updates=2):
    for update in range(updates):
        for batch in ppo.batches(update):
            trainer._step(batch, 1e-3, False, "")
    return ppo.batches(updates)


@pytest.mark.parametrize("options", [{}, {"previous_action": True}])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_update_finds_the_log_probabilities_and_values_of_the_rollout(backbones, name, options):
    ppo, trainer = set_up(backbones[name], **options)
    batches = list(played_on(ppo, trainer))
    rollout = batches[0].rollout
    assert any(segment.memory is not None for segment in rollout.segments), "some episode began in an earlier rollout"
    assert len({len(segment) for segment in rollout.segments}) > 1
    found = 0
    for batch in batches[:3]:
        trajectories, taken = ppo.gathered(batch)
        logits_NA, values_N = ppo.policy.evaluate(trajectories)
        log_probs_N = logits_NA.log_softmax(1).gather(1, taken.actions_N[:, None])[:, 0]
        torch.testing.assert_close(log_probs_N, taken.log_probs_N, rtol=0, atol=1e-4)
        torch.testing.assert_close(values_N, taken.values_N, rtol=0, atol=1e-4)
        found += len(log_probs_N)
    assert found == rollout.num_steps, "every step is in one minibatch of the epoch"
    assert np.ptp(rollout.log_probs_TN) > 0.5


@pytest.mark.parametrize("name", BACKBONES)
def test_a_plain_forward_of_the_whole_sequence_finds_the_same(backbones, name):
    """No cache, no packing: instruction and all frames of an episode in one call, the mask written out by hand."""
    ppo, trainer = set_up(backbones[name])
    policy, whole = ppo.policy, []
    batches = played_on(ppo, trainer)
    before = [list(frames) for frames in ppo.collector._seen]
    rollout = next(batches).rollout
    for segment in rollout.segments:
        earlier = before[segment.place] if segment.memory is not None else []
        frames = [*earlier, *rollout.features_TNPD[segment.start : segment.end, segment.place]]
        logits_TA, values_T = plain(policy, segment.instruction, np.stack(frames))
        here = np.s_[segment.start : segment.end, segment.place]
        actions = torch.from_numpy(rollout.actions_TN[here])
        found = logits_TA[len(earlier) :].log_softmax(1).gather(1, actions[:, None])[:, 0]
        torch.testing.assert_close(found, torch.from_numpy(rollout.log_probs_TN[here]), rtol=0, atol=1e-4)
        torch.testing.assert_close(
            values_T[len(earlier) :], torch.from_numpy(rollout.values_TN[here]), rtol=0, atol=1e-4
        )
        whole.append(len(earlier))
    assert max(whole) > 1


def plain(policy, instruction, features_TPD):
    """(logits [T, A], values [T]) of one episode from the model of `transformers` itself, without gradient."""
    backbone = policy.backbone
    with torch.no_grad():
        words = backbone.model.get_input_embeddings()(torch.tensor(backbone.tokenize([instruction])[0]))
        frames = policy.adapters.observation(torch.from_numpy(features_TPD))[:, 0]
        size, prompt = len(words) + len(frames), len(words)
        seen = torch.ones(size, size).tril().bool()
        if backbone.bidirectional:
            seen[:prompt, :prompt] = True
        mask = torch.zeros(1, 1, size, size).masked_fill(~seen, torch.finfo(torch.float32).min)
        output = backbone.model(
            inputs_embeds=torch.cat([words, frames])[None], attention_mask=mask,
            position_ids=torch.arange(size)[None], use_cache=False,
        )  # fmt: skip
        return policy.adapters.action(output.last_hidden_state[0, prompt:])


def test_the_gradient_is_that_of_the_plain_forward_where_episodes_begin_in_the_rollout(backbones):
    ppo, _ = set_up(backbones["decoder"])
    batch = next(ppo.batches(0))  # the first rollout: no episode began earlier
    trajectories, taken = ppo.gathered(batch)
    weights = torch.randn(len(taken.actions_N), len(NAMES), generator=torch.Generator().manual_seed(1))
    parameters = list(ppo.policy.adapters.observation.parameters())

    logits_NA, _ = ppo.policy.evaluate(trajectories)
    ours = torch.autograd.grad((logits_NA * weights).sum(), parameters)

    backbone, start, total = ppo.policy.backbone, 0, torch.zeros(())
    for segment in batch.segments:
        here = slice(start, start + len(segment))
        words = backbone.model.get_input_embeddings()(torch.tensor(backbone.tokenize([segment.instruction])[0]))
        frames = ppo.policy.adapters.observation(torch.from_numpy(trajectories.features_NPD[here]))[:, 0]
        output = backbone.model(inputs_embeds=torch.cat([words, frames])[None], use_cache=False).last_hidden_state
        total = total + (ppo.policy.adapters.action(output[0, len(words) :])[0] * weights[here]).sum()
        start = here.stop
    for left, right in zip(ours, torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
        assert right.abs().max() > 1e-3


def test_truncated_episodes_are_worth_what_was_seen_last_and_others_nothing_more(backbones):
    ppo, _ = set_up(backbones["decoder"])
    seen, rollout = [], None
    for update in range(4):
        rollout = next(ppo.batches(update)).rollout
        seen += rollout.truncated_TN.sum(), rollout.terminated_TN.sum()
        assert not (rollout.truncated_TN & rollout.terminated_TN).any()
        assert (rollout.final_values_TN[rollout.truncated_TN] != 0).all()
        assert (rollout.final_values_TN[~rollout.truncated_TN] == 0).all()
    assert sum(seen[::2]) > 0


def test_actions_are_drawn_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 1.0, 2.0, -30.0]]).expand(20_000, -1)
    actions, log_probs = sample(logits, np.random.default_rng(0).random(20_000))
    expected = logits[0].softmax(0).numpy()
    assert np.abs(np.bincount(actions, minlength=4) / 20_000 - expected).max() < 0.02
    np.testing.assert_allclose(log_probs, logits[0].log_softmax(0).numpy()[actions], atol=1e-6)
    assert sample(logits[:2, :3], np.array([0.0, np.nextafter(1, 0)]))[0].tolist() == [0, 2]


def test_a_rollout_that_is_cut_keeps_what_it_has(backbones):
    ppo, _ = set_up(backbones["decoder"])
    rollout = ppo.collector.collect(np.random.default_rng(0), lambda steps: steps == 4)
    assert rollout.actions_TN.shape == (4, WORLDS)
    assert sum(map(len, rollout.segments)) == rollout.num_steps == 4 * WORLDS
    again = ppo.collector.collect(np.random.default_rng(1))
    assert again.actions_TN.shape == (STEPS, WORLDS)


def test_what_is_not_finite_is_named(backbones):
    ppo, _ = set_up(backbones["decoder"])
    rollout = ppo.collector.collect(np.random.default_rng(0))
    assert rollout.problem() is None
    rollout.features_TNPD[3, 2, 0, 1] = np.inf
    assert rollout.problem() == "features at step 3 of episode 2 of the rollout"
