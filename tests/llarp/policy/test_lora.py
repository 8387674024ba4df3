"""LoRA: trained, saved and restored with the adapters, active on frames alone."""

import sys

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS, MINILM, tiny_decoder, tiny_llama
from policy_contract import FEATURES_BTPD, SHAPE, TASKS, WHOLE, LLaRPContract, make

from llarp.errors import UserError
from llarp.learn.checkpoint import load_snapshot, snapshot
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy


def adapted(config, is_fresh=False, **more):
    """A policy on a backbone of its own; unless it is fresh, LoRA has learnt something."""
    config = config.model_copy(update={"lora_rank": 2, "hidden": 32, **more})
    backbone = load_backbone(config)
    if not is_fresh:
        learn(backbone.lora_weights)
    return make(backbone, config)


@torch.no_grad()
def learn(weights):
    torch.manual_seed(7)
    for weight in weights.values():
        weight.add_(0.2 * torch.randn_like(weight))


def frozen(policy):
    """Name and value of every weight that must stay as it is."""
    ours = {id(weight) for weight in policy.adapters.parameters()}
    return {name: weight for name, weight in policy.backbone.model.named_parameters() if id(weight) not in ours}


class LoRAContract(LLaRPContract):
    parts = (*LLaRPContract.parts, "lora.")

    def test_only_adapters_learn(self, policy):
        before = {name: weight.clone() for name, weight in frozen(policy).items()}
        optimizer = torch.optim.AdamW(policy.adapters.parameters(), lr=0.01)
        logits_NA, values_N = policy.evaluate(WHOLE)
        (logits_NA.square().sum() + values_N.sum()).backward()
        assert all(weight.grad.abs().max() > 0 for weight in policy.adapters.lora.values())
        assert all(weight.grad is None for weight in frozen(policy).values())
        optimizer.step()
        assert (policy.evaluate(WHOLE)[0] - logits_NA).abs().max() > 0.01
        assert all(torch.equal(before[name], weight) for name, weight in frozen(policy).items())

    def test_instructions_are_read_by_the_frozen_model_and_without_gradient(self, policy):
        plain = load_backbone(policy.config.model_copy(update={"lora_rank": 0}))
        plain.fused = None  # as with LoRA
        ids = plain.tokenize(INSTRUCTIONS)
        for ours, theirs in zip(policy.backbone.prefix(ids), plain.prefix(ids), strict=True):
            assert not ours.tensor.requires_grad and torch.equal(ours.tensor, theirs.tensor)

    def test_it_matters_to_frames(self, policy):
        before, _ = policy.evaluate(WHOLE)
        learn(policy.adapters.lora)
        assert (policy.evaluate(WHOLE)[0] - before).abs().max() > 0.01


class TestLoRAOnADecoder(LoRAContract):
    @pytest.fixture
    def policy(self, tmp_path):
        return adapted(tiny_llama(tmp_path))

    def test_names_say_which_projection_it_is(self, policy):
        names = {name for name, _ in policy.adapters.named_parameters() if name.startswith("lora.")}
        assert names == {
            f"lora.layers/{layer}/self_attn/{projection}_proj/{part}"
            for layer in (0, 1) for projection in "qv" for part in "AB"
        }  # fmt: skip

    def test_a_checkpoint_brings_it_back_with_its_optimiser(self, policy, tmp_path):
        optimizer = torch.optim.AdamW(policy.adapters.parameters(), lr=0.01)

        def step():
            optimizer.zero_grad()
            policy.evaluate(WHOLE)[0].square().sum().backward()
            optimizer.step()
            return {name: weight.clone() for name, weight in policy.adapters.lora.items()}

        step()
        saved = snapshot(1, [None], policy.adapters, optimizer)
        expected = step()
        step()
        load_snapshot(saved, policy.adapters, optimizer)
        for name, weight in step().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


class TestLoRAOnMiniLM(LoRAContract):
    @pytest.fixture
    def policy(self):
        return adapted(MINILM)


class TestLoRAInBrain16:
    def test_it_is_trained_in_float32(self, tmp_path):
        policy = adapted(tiny_llama(tmp_path), dtype="bfloat16")
        assert policy.backbone.model.dtype == torch.bfloat16
        policy.evaluate(WHOLE)[0].square().sum().backward()
        assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in policy.adapters.lora.values())


def test_before_it_has_learnt_anything_it_changes_no_number(tmp_path):
    config = tiny_llama(tmp_path)
    plain, policy = load_backbone(config), adapted(config, is_fresh=True)
    plain.fused = None  # as with LoRA
    without = LLaRPPolicy(plain, config, SHAPE)
    shared = {name: one for name, one in policy.adapters.state_dict().items() if not name.startswith("lora.")}
    without.adapters.load_state_dict(shared)
    assert policy.backbone.fused is None
    for ours, theirs in zip(policy.evaluate(WHOLE), without.evaluate(WHOLE), strict=True):
        assert torch.equal(ours, theirs)
    rows = np.arange(len(TASKS))
    stepped = []
    for one in (policy, without):
        state = one.start(TASKS)
        stepped.append(one.step(FEATURES_BTPD[:, 0], state.previous_B, state.cache, rows)[0])
    assert torch.equal(*stepped)


def test_a_policy_without_it_does_not_take_one_that_has_it(tmp_path):
    config = tiny_llama(tmp_path / "model")
    adapted(config).save(tmp_path / "with")
    with pytest.raises(UserError, match="Unexpected key"):
        LLaRPPolicy(load_backbone(config), config, SHAPE).load_adapters(tmp_path / "with" / "adapters.safetensors")


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"policy\.lora_rank: package not installed.*pip install 'llarp\[lora\]'"):
        load_backbone(MINILM.model_copy(update={"lora_rank": 2}))


def test_a_family_that_peft_does_not_know_is_refused(tmp_path):
    from transformers import Olmo3ForCausalLM

    config = tiny_decoder(tmp_path, Olmo3ForCausalLM)
    with pytest.raises(UserError, match=r"policy\.lora_rank: peft knows no place for LoRA in Olmo3Model"):
        load_backbone(config.model_copy(update={"lora_rank": 2}))
