"""Backbones in fewer bits: the same policy, rounded; what a machine cannot do is refused."""

import importlib.util

import numpy as np
import pytest
import torch
from backbone_contract import BackboneContract, at_once, begun
from backbones import MINILM, tiny_decoder, tiny_llama
from policy_contract import FEATURES_BTPD, NO_ACTIONS, SHAPE, TASKS, WHOLE, T
from transformers import LlamaForCausalLM

from llarp.errors import UserError
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy

HAS_QUANTISER = torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes") is not None


class TestBrain16(BackboneContract):
    """bfloat16: two or three digits are left of every number."""

    bidirectional = False
    tolerance = 0.1

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, tmp_path_factory):
        config = tiny_llama(tmp_path_factory.mktemp("llama"))
        backbone = load_backbone(config.model_copy(update={"dtype": "bfloat16"}))
        assert backbone.model.dtype == torch.bfloat16 and backbone.fused is None
        return backbone

    def test_only_the_model_itself_computes_in_it(self, backbone, frames_BTD, memory):
        cache, rows = begun(backbone, memory)
        assert at_once(backbone, frames_BTD, memory).dtype == torch.float32
        assert backbone.read(frames_BTD[:, 0], [1] * len(rows), cache, rows).dtype == torch.float32
        assert cache.keys.dtype == memory[0].tensor.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_the_dtype_is_the_one_asked_for(dtype):
    backbone = load_backbone(MINILM.model_copy(update={"dtype": dtype}))
    assert backbone.model.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    assert (backbone.fused is None) == (dtype == "bfloat16")


def agree(policy, tolerance):
    """Stepping through the frames and evaluating them at once give nearly the same probabilities and values."""
    with torch.no_grad():
        logits_NA, values_N = policy.evaluate(WHOLE)
    memories = policy.prefixes([task.instruction for task in TASKS])
    cache, rows = policy.cache(len(TASKS)), np.arange(len(TASKS))
    for row, memory in enumerate(memories):
        cache.put(row, memory)
    for time in range(T):
        stepped_KA, stepped_K = policy.step(FEATURES_BTPD[:, time], NO_ACTIONS[: len(rows)], cache, rows)
        expected_KA = logits_NA[time::T]
        assert (stepped_KA.softmax(1) - expected_KA.softmax(1)).abs().max() < tolerance
        assert (stepped_K - values_N[time::T]).abs().max() < tolerance


def test_rollout_and_update_nearly_agree_in_bfloat16(tmp_path):
    config = tiny_llama(tmp_path).model_copy(update={"dtype": "bfloat16"})
    torch.manual_seed(0)
    policy = LLaRPPolicy(load_backbone(config), config, SHAPE)
    agree(policy, 0.03)
    sum(part.sum() for part in policy.evaluate(WHOLE)).backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in policy.adapters.parameters())


@pytest.mark.skipif(HAS_QUANTISER, reason="this machine can quantise")
@pytest.mark.parametrize("config", [MINILM, MINILM.model_copy(update={"backbone": "org/name", "revision": "abc"})])
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_machine_that_cannot_quantise_says_what_it_lacks(config, bits):
    with pytest.raises(UserError) as caught:
        load_backbone(config.model_copy(update={"quantize": bits}))
    lacking = [] if torch.cuda.is_available() else ["a GPU"]
    lacking += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    assert str(caught.value).startswith(f"policy.quantize: {bits} needs {' and '.join(lacking)}")
    assert r"pip install 'llarp[quantized]'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(not HAS_QUANTISER, reason="needs a GPU and bitsandbytes")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_backbone_reads_and_lets_gradients_through(bits, tmp_path):
    # Weights are quantised in blocks of 64.
    config = tiny_decoder(tmp_path, LlamaForCausalLM, hidden_size=64, intermediate_size=128, initializer_range=0.1)
    config = config.model_copy(update={"quantize": bits, "lora_rank": 2})
    torch.manual_seed(0)
    policy = LLaRPPolicy(load_backbone(config), config, SHAPE).to("cuda")
    agree(policy, 0.05)
    sum(part.sum() for part in policy.evaluate(WHOLE)).backward()
    assert all(parameter.grad is not None for parameter in policy.adapters.parameters())
