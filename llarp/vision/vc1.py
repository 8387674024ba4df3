"""VC-1 (Majumdar et al., arXiv 2303.18240) as a `transformers` ViT: a masked autoencoder's encoder, class token out.

Its checkpoints (`facebook/vc1-base`, `vc1-large`: CC-BY-NC 4.0; `facebook/vc1-large-permissive`: MIT) hold, under the
key `model`, tensors in the layout of the original masked autoencoder, the decoder's included. Layer norms use epsilon
1e-6, and heads are 64 wide.
"""

import argparse
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision.encoder import Output, Preprocessing, ViTEncoder, refuse_loose_tensors

if TYPE_CHECKING:
    import torch

PREPROCESSING = Preprocessing(
    do_resize=True,
    size={"shortest_edge": 256},
    resample=3,
    do_center_crop=True,
    crop_size={"height": 224, "width": 224},
    image_mean=(0.485, 0.456, 0.406),
    image_std=(0.229, 0.224, 0.225),
)
"""Resize to 256 (bicubic), centre crop 224, mean and deviation of ImageNet."""

HEAD_WIDTH = 64
_GET = "take an original VC-1 checkpoint (facebook/vc1-base, vc1-large)"
_OUTER = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_IN_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def load_vc1(checkpoint: str | os.PathLike[str], output: Output = "cls") -> ViTEncoder:
    """Converts a VC-1 checkpoint; `save` the result to read it with `load_encoder` from then on.

    Raises:
        UserError: the file is missing, no checkpoint, or its encoder's tensors are not exactly those of a ViT.

    """
    from transformers import ViTConfig, ViTModel

    path = Path(checkpoint)
    tensors = _read(path)
    try:
        dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        grid = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    except (KeyError, ValueError) as error:
        raise UserError(f"is no masked autoencoder's checkpoint ({error})", path, _GET) from error
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    config = ViTConfig(
        hidden_size=dim,
        num_hidden_layers=depth,
        num_attention_heads=max(1, dim // HEAD_WIDTH),
        intermediate_size=hidden,
        image_size=grid * patch,
        patch_size=patch,
        layer_norm_eps=1e-6,
    )
    model = ViTModel(config, add_pooling_layer=False)
    converted = _rename(tensors)
    refuse_loose_tensors(
        path, model.state_dict().keys() - converted.keys(), converted.keys() - model.state_dict().keys()
    )
    try:
        model.load_state_dict(converted, strict=True)
    except RuntimeError as error:
        raise UserError(f"holds tensors of other shapes: {error}", path, _GET) from error
    edge = {"height": grid * patch, "width": grid * patch}
    return ViTEncoder(model, PREPROCESSING.model_copy(update={"crop_size": edge}), output, origin=sha256(path))


def _read(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint; what is stored beside them is only ever read as data, never run."""
    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the training's settings lie beside the tensors
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, _GET) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError("is no checkpoint of tensors alone", path, _GET) from error
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(entry, torch.Tensor) for entry in tensors.values()):
        raise UserError('holds no tensors under the key "model"', path, _GET)
    return {name: tensor.float() for name, tensor in tensors.items()}


def _rename(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Tensors under the names of `ViTModel`; the fused query, key and value are parted; unknown names stay."""
    renamed = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if name in _OUTER:
            renamed[_OUTER[name]] = tensor
        elif module in _OUTER:
            renamed[f"{_OUTER[module]}.{leaf}"] = tensor
        elif name.startswith("blocks."):
            _, block, rest = name.split(".", 2)
            inner, _, leaf = rest.rpartition(".")
            if inner == "attn.qkv":
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"layers.{block}.attention.{part}_proj.{leaf}"] = piece
            elif inner in _IN_BLOCK:
                renamed[f"layers.{block}.{_IN_BLOCK[inner]}.{leaf}"] = tensor
            else:
                renamed[name] = tensor
        elif not name.startswith(("decoder_", "mask_token")):
            renamed[name] = tensor
    return renamed
