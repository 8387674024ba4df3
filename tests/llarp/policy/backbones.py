"""Backbones for tests: the real MiniLM, and a tiny Llama with random weights and a word tokenizer, made on the spot."""

from pathlib import Path
from typing import Any

import torch

from llarp.config import PolicyConfig, load_params

WORDS = ["move", "an", "apple", "to", "the", "sofa", "and", "then", "go", "left", "counter", "open", "fridge", "please"]
INSTRUCTIONS = ["Move an apple to the sofa", "go", "please open the fridge and then go to the left counter"]
MINILM: PolicyConfig = load_params().policy


def tiny_llama(folder: Path, seed: int = 0, positions: int = 512) -> PolicyConfig:
    """A Llama with grouped heads, see `tiny_decoder`."""
    from transformers import LlamaForCausalLM

    return tiny_decoder(folder, LlamaForCausalLM, seed, positions)


def tiny_decoder(folder: Path, kind: Any, seed: int = 0, positions: int = 512, **more: Any) -> PolicyConfig:
    """Saves a decoder of two layers as the hub would have it; returns the parameters that name it.

    Its width is 32, unless `more` of its configuration says otherwise.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>")
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": positions,
        "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    model = kind(kind.config_class(**shape | more))
    for name, parameter in model.named_parameters():  # norms that do nothing and biases of 0 would hide mistakes
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return PolicyConfig(backbone=str(folder), revision=None, sha256=None, max_instruction_tokens=64, hidden=32)
