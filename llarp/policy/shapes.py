"""Backbones without weights, on the meta device: what a setting would need, known without the hub.

A local folder says it in its `config.json`, and all-MiniLM-L6-v2 in its package; of the hub's models, those that the
presets name are known here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llarp.config import PolicyConfig
from llarp.errors import UserError
from llarp.policy import minilm

LLAMAS: dict[str, dict[str, Any]] = {
    "huggyllama/llama-7b": {
        "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 32_000, "max_position_embeddings": 2048, "dtype": "float16",
    },
    "HuggingFaceTB/SmolLM2-1.7B": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 49_152, "max_position_embeddings": 8192, "dtype": "bfloat16",
    },
}  # fmt: skip
"""As their `config.json` has it, but for what changes no size."""


def shape(config: PolicyConfig) -> Any:
    """The model on the meta device, in the dtype it would be loaded in; UserError when nothing says what it is like."""
    from transformers import AutoConfig, AutoModel, BertModel, LlamaConfig

    if config.backbone in LLAMAS:
        found: Any = LlamaConfig(**LLAMAS[config.backbone])
    else:
        folder = minilm.folder() if config.backbone == minilm.NAME else Path(config.backbone)
        if not folder.is_dir():
            raise UserError(
                "nothing here says what shape it has",
                f"backbone {config.backbone}",
                f"give the path of a folder with its config.json, or one of: {', '.join((minilm.NAME, *LLAMAS))}",
            )
        try:
            found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot be read: {error}", folder / "config.json", "restore the file") from error
    dtype = found.dtype or torch.float32 if config.dtype == "auto" else getattr(torch, config.dtype)
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    with torch.device("meta"):
        if config.backbone == minilm.NAME:
            found.is_decoder, found._attn_implementation = True, "eager"
            model: Any = BertModel(found, add_pooling_layer=False)
        else:
            model = AutoModel.from_config(found)
    return model.to(dtype).eval().requires_grad_(False)
