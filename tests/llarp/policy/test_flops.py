"""Operations by formula are those that torch counts."""

import numpy as np
import pytest
import torch
from backbones import MINILM, tiny_llama
from torch.utils.flop_counter import FlopCounterMode

from llarp.policy.backbones import load_backbone
from llarp.policy.flops import Flops
from llarp.policy.llarp import LLaRPPolicy, Trajectories

T = 6
CASES = {
    "one token": ({}, (1, 7)),
    "patches": ({}, (9, 7)),
    "several tokens": ({"visual_tokens": 3, "previous_action": True, "hidden": 32}, (9, 7)),
    "LoRA": ({"lora_rank": 4}, (1, 7)),
}


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_they_are_those_that_torch_counts(family, case, tmp_path):
    more, shape = CASES[case]
    config = (MINILM if family == "bert" else tiny_llama(tmp_path)).model_copy(update=more)
    torch.manual_seed(0)
    backbone = load_backbone(config)
    backbone.fused = None  # whose operators torch does not count
    backbone.model.set_attn_implementation("eager")  # nor those of a fused attention
    policy = LLaRPPolicy(backbone, config, shape)
    flops = Flops.of(backbone.model, policy.adapters)
    (memory,) = policy.prefixes(["go"])
    tokens, features = policy.tokens_per_frame, np.zeros((T, *shape), np.float16)
    previous = np.zeros(T, np.int64)

    cache, row = policy.cache(1), np.zeros(1, np.int64)
    cache.put(0, memory)
    resampled = policy.adapters.observation.resampler is not None
    policy.adapters.requires_grad_(not resampled)  # torch's counter cannot follow gradients of what has no input
    step = counted(lambda: policy.step(features[:1], previous[:1], cache, row))
    # What latents and patches find in each other is left out.
    assert flops.forward(len(memory) + tokens) == pytest.approx(step, rel=0.02 if resampled else 1e-9)
    if resampled:
        return

    # Torch computes masked scores too, so every token sees all of the episode.
    episode = Trajectories(["go"], [T], features, previous, [memory])
    learnt = counted(lambda: sum(part.sum() for part in policy.evaluate(episode)).backward())
    patches, head = policy.adapters.observation.patches, policy.adapters.observation.head
    first = patches.edge**2 * patches.inner.weight.numel() if patches else head[0].weight.numel()
    expected = T * (flops.training(len(memory) + T * tokens) - 2 * first)  # features need no gradient
    assert expected == pytest.approx(learnt, rel=0.01)


def test_reading_an_instruction(tmp_path):
    backbone = load_backbone(tiny_llama(tmp_path))
    backbone.fused = None
    backbone.model.set_attn_implementation("eager")
    policy = LLaRPPolicy(backbone, tiny_llama(tmp_path), (1, 7))
    read = counted(lambda: backbone.prefix([[1] * 20]))
    flops = Flops.of(backbone.model, policy.adapters)
    assert read == flops.reading(20) + flops.attention_per_key * 20**2 / 2  # masked scores are computed too
