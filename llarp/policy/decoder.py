"""Any causal decoder of the Hugging Face hub as a backbone, by name and revision or from a local folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llarp import hub
from llarp.config import PolicyConfig
from llarp.errors import UserError
from llarp.files import sha256
from llarp.policy.backbone import Identity, check_sha256
from llarp.policy.fused_backbone import FusedBackbone
from llarp.policy.numbers import loading
from llarp.policy.transformer import check_positions, quiet

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""What is fetched from the hub: weights as safetensors only, tokenizer, configuration; never code or pickles."""


def load(config: PolicyConfig) -> FusedBackbone:
    """Reads the frozen decoder; UserError when it is missing, has other weights, or does not fit."""
    from transformers import AutoModel, AutoTokenizer

    options = loading(config)  # refuses what cannot be before anything is fetched
    folder = _folder(config)
    digest = weights_sha256(folder)
    check_sha256(digest, config, folder)
    with quiet():
        try:
            model = AutoModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise UserError(
                f"backbone cannot be loaded: {error}",
                folder,
                "give a decoder that transformers knows, with its tokenizer",
            ) from error
    text = model.config.get_text_config()
    where = f"backbone {config.backbone}"
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if text.is_encoder_decoder or not kinds <= {"full_attention", "sliding_attention"}:
        raise UserError(f"{where}: not a decoder with plain attention in every layer", folder, "choose another model")
    positions = getattr(text, "max_position_embeddings", None) or 2**31
    window = getattr(text, "sliding_window", None) or positions
    check_positions(min(positions, window), config, where)
    identity = Identity(config.backbone, config.revision, digest)
    backbone = FusedBackbone(
        model,
        tokenizer,
        identity,
        config.max_instruction_tokens,
        bidirectional=False,
        lora_rank=config.lora_rank,
        is_compiled=config.compile,
    )
    backbone.prefix([[0]])  # refuses a model that keeps no keys and values
    return backbone


def weights_sha256(folder: Path) -> str:
    """Digest of a model's safetensors: of the one file, or of the digests of all shards in the order of their names."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError("no *.safetensors here", folder, "save the model with save_pretrained(folder)")
    digests = [sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _folder(config: PolicyConfig) -> Path:
    """The local folder itself, or the hub's snapshot in the local cache, fetched when it is not there yet."""
    local = Path(config.backbone)
    if local.is_dir():
        return local
    if config.revision is None:
        raise UserError(
            f"no folder {config.backbone!r}, and a model of the hub needs a pinned revision",
            "policy.revision",
            "give the hub's commit hash, or the path of a local model",
        )
    return hub.fetch(config.backbone, config.revision, _FILES, "backbone")
