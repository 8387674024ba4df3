"""VC-1 (Majumdar et al., arXiv 2303.18240) as a `transformers` ViT: a masked autoencoder's encoder, class token out.

Its checkpoints (`facebook/vc1-base`, `vc1-large`: CC-BY-NC 4.0; `facebook/vc1-large-permissive`: MIT) hold, under the
key `model`, tensors in the layout of the original masked autoencoder (He et al., arXiv 2111.06377), the decoder's
included. Layer norms use epsilon 1e-6, while `ViTConfig` has 1e-12 unless told otherwise; heads are 64 wide.
"""

import argparse
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llarp.errors import UserError
from llarp.files import sha256
from llarp.vision.encoder import Output, Preprocessing, ViTEncoder
from llarp.vision.provenance import UNKNOWN, Provenance
from llarp.vision.vit_folder import refuse_tensors

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
"""Resize to 256 (bicubic), centre crop 224, mean and deviation of ImageNet: `vit_transforms` of eai-vc, its source."""

LAYER_NORM_EPS = 1e-6
HEAD_WIDTH = 64
_GET = "take an original VC-1 checkpoint (facebook/vc1-base, vc1-large, vc1-large-permissive)"
_DECODER = ("decoder_", "mask_token")
"""Beginnings of the names of tensors that only the autoencoder's training needs."""


class Shape(NamedTuple):
    """What a checkpoint's tensors are measured against."""

    dim: int
    """Width of a token."""
    depth: int
    """Layers."""
    patch: int
    """Edge of a patch, pixels."""
    grid: int
    """Patches along each edge of an image."""
    hidden: int
    """Units of each feed-forward network."""

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the encoder, under its name in the checkpoint, with its shape."""
        dim, hidden = self.dim, self.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "cls_token": (1, 1, dim),
            "pos_embed": (1, 1 + self.grid**2, dim),
            "patch_embed.proj.weight": (dim, 3, self.patch, self.patch),
            "patch_embed.proj.bias": (dim,),
        }
        for block in range(self.depth):
            layers = {"norm1": (dim,), "attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim)}
            layers |= {"norm2": (dim,), "mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
            for name, shape in layers.items():
                shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        return shapes | {"norm.weight": (dim,), "norm.bias": (dim,)}


BASE = Shape(dim=768, depth=12, patch=16, grid=14, hidden=3072)
LARGE = Shape(dim=1024, depth=24, patch=16, grid=14, hidden=4096)

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


def load_vc1(
    checkpoint: str | os.PathLike[str],
    output: Output = "cls",
    shape: Shape | None = None,
    provenance: Provenance | None = None,
) -> ViTEncoder:
    """Converts a VC-1 checkpoint; `save` the result to read it with `load_encoder` from then on.

    Args:
        checkpoint: file.
        output: visual tokens to use.
        shape: that the network must have; None: the one that its tensors suggest.
        provenance: of the checkpoint; None: its file's name and digest, and no known licence.

    Raises:
        UserError: the file is missing, no checkpoint, or its encoder's tensors are not exactly those of a ViT.

    """
    from transformers import ViTConfig, ViTModel

    path = Path(checkpoint)
    tensors = {name: tensor for name, tensor in _read(path).items() if not name.startswith(_DECODER)}
    shape = shape or _suggested(tensors, path)
    _check(tensors, shape, path)
    edge = shape.grid * shape.patch
    config = ViTConfig(
        hidden_size=shape.dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.dim // HEAD_WIDTH,
        intermediate_size=shape.hidden,
        image_size=edge,
        patch_size=shape.patch,
        layer_norm_eps=LAYER_NORM_EPS,
    )
    model = ViTModel(config, add_pooling_layer=False)
    model.load_state_dict(_rename(tensors), strict=True)  # all of them, or a KeyError of ours
    preprocessing = PREPROCESSING.model_copy(update={"crop_size": {"height": edge, "width": edge}})
    return ViTEncoder(model, preprocessing, output, provenance or Provenance(path.name, sha256(path), UNKNOWN))


def _read(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint; what is stored beside them is only ever read as data, never run."""
    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the training's settings lie beside the tensors
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, _GET) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"is no checkpoint of tensors alone{_foreign(path)}", path, _GET) from error
    tensors = content.get("model") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(entry, torch.Tensor) for entry in tensors.values()):
        raise UserError('holds no tensors under the key "model"', path, _GET)
    return {str(name): tensor.float() for name, tensor in tensors.items()}


def _foreign(path: Path) -> str:
    """What a checkpoint would have run, for an error: the names are read, and nothing else is."""
    import torch

    try:
        names = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - {"argparse.Namespace"})
    except Exception:  # it is damaged, in whatever way
        return ""
    return f" but names {', '.join(names[:3])}, which is never run" if names else ""


def _suggested(tensors: "dict[str, torch.Tensor]", path: Path) -> Shape:
    """The shape that the few tensors suggest which all others must fit."""
    ranks = {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    flat = [
        f"{name} {list(tensors[name].shape)}" for name in ranks if name in tensors and tensors[name].ndim != ranks[name]
    ]
    refuse_tensors(path, [name for name in ranks if name not in tensors], [], flat, _GET)
    dim, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    if dim % HEAD_WIDTH:
        raise UserError(f"is {dim} wide, which is no multiple of its heads' {HEAD_WIDTH}", path, _GET)
    grid = round(max(0, tensors["pos_embed"].shape[1] - 1) ** 0.5)
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return Shape(dim, depth, patch, grid, hidden=tensors["blocks.0.mlp.fc1.weight"].shape[0])


def _check(tensors: "dict[str, torch.Tensor]", shape: Shape, path: Path) -> None:
    """UserError that names the tensors, unless they are exactly those of an encoder of the shape."""
    wanted = shape.tensors()
    misshapen = [
        f"{name} {list(tensors[name].shape)} instead of {list(size)}"
        for name, size in wanted.items()
        if name in tensors and tensors[name].shape != size
    ]
    refuse_tensors(path, wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys(), misshapen, _GET)


def _rename(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Checked tensors under the names of `ViTModel`; the fused query, key and value are parted."""
    renamed = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if name in _OUTER:
            renamed[_OUTER[name]] = tensor
        elif module in _OUTER:
            renamed[f"{_OUTER[module]}.{leaf}"] = tensor
        else:
            _, block, rest = module.split(".", 2)
            if rest == "attn.qkv":
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"layers.{block}.attention.{part}_proj.{leaf}"] = piece
            else:
                renamed[f"layers.{block}.{_IN_BLOCK[rest]}.{leaf}"] = tensor
    return renamed
