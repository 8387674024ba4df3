"""Compiled layers: the same numbers, and no compilation for lengths that are new."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from backbone_contract import BackboneContract, close
from backbones import INSTRUCTIONS, MINILM, tiny_decoder
from torch._dynamo.utils import counters
from transformers import LlamaForCausalLM

from llarp.errors import UserError
from llarp.policy import compiled
from llarp.policy.backbones import load_backbone


def loaded(folder, layers=2, **more):
    config = tiny_decoder(folder, LlamaForCausalLM, num_hidden_layers=layers)
    backbone = load_backbone(config.model_copy(update={"compile": True} | more))
    assert backbone.fused is None
    return backbone


@pytest.mark.slow
class TestCompiledDecoder(BackboneContract):
    """What is traced, with shapes that vary and a cache that is written in place; machine code is the next test's."""

    bidirectional = False

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, tmp_path_factory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
            patch.setattr(compiled.shutil, "which", lambda name: name)
            yield loaded(tmp_path_factory.mktemp("llama"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.slow
def test_machine_code_gives_the_same_numbers_and_lengths_that_are_new_compile_nothing(tmp_path):
    """With LoRA, whose weights get their gradient; layers share what is compiled."""
    backbone, other = loaded(tmp_path, layers=3, lora_rank=2), loaded(tmp_path, layers=3, lora_rank=2, compile=False)
    other.lora_weights.load_state_dict(backbone.lora_weights.state_dict())
    memories, rng = backbone.prefix(backbone.tokenize(INSTRUCTIONS)), np.random.default_rng(0)

    def play(num_rows, steps):
        ours, theirs = backbone.cache(num_rows, steps), other.cache(num_rows, steps)
        for row in range(num_rows):
            ours.put(row, memories[row % len(memories)])
            theirs.put(row, memories[row % len(memories)])
        for _ in range(steps):
            new = torch.randn(num_rows, backbone.width), [1] * num_rows
            close(backbone.read(*new, ours, np.arange(num_rows)), other.read(*new, theirs, np.arange(num_rows)))

    def learn(lengths):
        tokens_ND = torch.randn(sum(lengths), backbone.width)
        chosen = [memories[number % len(memories)] for number in range(len(lengths))]
        gradients = []
        for one in (backbone, other):
            given_ND = tokens_ND.clone().requires_grad_()
            one.sequence(2 * given_ND, lengths, chosen).sum().backward()
            gradients.append([given_ND.grad, *(weight.grad for weight in one.lora_weights.values())])
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)

    counters.clear()
    play(4, 5)
    learn([3, 5, 2])
    # One for reading; for learning one for the first layer, whose input is a view, and one for all others.
    compilations = counters["stats"]["unique_graphs"]
    assert compilations == 3
    for num_rows in (2, 3, 9):
        play(num_rows, int(rng.integers(3, 12)))
        learn(rng.integers(2, 12, num_rows).tolist())
    assert counters["stats"]["unique_graphs"] == compilations and not counters["graph_break"]


def test_without_a_compiler_it_says_so(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match=r"policy\.compile: there is neither a C\+\+ compiler nor a GPU — install g\+\+"
    ):
        load_backbone(MINILM.model_copy(update={"compile": True}))
