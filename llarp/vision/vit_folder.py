"""The network in a folder that `transformers` wrote: a ViT, or the encoder of a masked autoencoder."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llarp.errors import UserError
from llarp.vision.json_files import read_json

if TYPE_CHECKING:
    from transformers import ViTModel

WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_HEADS = {"vit": ("pooler.", "classifier."), "vit_mae": ("decoder.",)}
"""By kind of model, the tensors of no encoder, which may be left unread."""
_USED = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
    "image_size", "patch_size", "num_channels", "qkv_bias",
)  # fmt: skip
"""Keys of the configuration that decide what an encoder computes; their defaults are the same for both kinds."""
_AGAIN = "train, convert or fetch the encoder again"
_SHOWN = 3
"""Names in an error; the others are counted."""


def read_vit(folder: Path) -> "ViTModel":
    """The ViT of a folder in float32, every tensor of it read from `model.safetensors`.

    `transformers` only builds the network and translates the names of tensors: it is given what was read here, so it
    neither asks the hub nor follows what else lies in the folder (adapters, code, pickles).

    Raises:
        UserError: a file is missing or damaged, the model is of another kind, or its tensors are not exactly a ViT's.

    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import ViTConfig, ViTModel

    settings = read_json(folder / _CONFIG, _AGAIN)
    heads = _heads(settings, folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise UserError("file is missing", path, f"{_AGAIN}; weights are read from safetensors alone")
    try:
        config = ViTConfig(**{key: settings[key] for key in _USED if key in settings})
        tensors = load_file(path)
        kept = {name: tensor for name, tensor in tensors.items() if not name.removeprefix("vit.").startswith(heads)}
        with _quiet():
            loaded: Any = ViTModel.from_pretrained(
                None,
                config=config,
                state_dict=kept,
                add_pooling_layer=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they can be named
            )
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot be loaded ({error})", path, _AGAIN) from error
    except Exception as error:  # transformers raises many kinds for a configuration that makes no sense
        raise UserError(f"makes no ViT ({error})", folder / _CONFIG, _AGAIN) from error
    model, info = loaded
    misshapen = [f"{name} {list(found)} instead of {list(want)}" for name, found, want in info["mismatched_keys"]]
    refuse_tensors(path, info["missing_keys"], info["unexpected_keys"], misshapen, "take the model of a plain ViT")
    return model.float()


def refuse_tensors(
    where: Path, missing: Collection[str], unknown: Collection[str], misshapen: Collection[str], do: str
) -> None:
    """UserError that names the tensors, with what to do, unless none is missing, unknown or of another shape."""
    kinds = (("lacks", missing), ("holds unknown", unknown), ("holds misshapen", misshapen))
    wrong = [
        f"{what} tensors ({len(names)}): {', '.join(sorted(names)[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}"
        for what, names in kinds
        if names
    ]
    if wrong:
        raise UserError("; ".join(wrong), where, do)


def _heads(settings: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Beginnings of names that belong to no encoder; UserError when the model is no ViT of colours."""
    kind = settings.get("model_type")
    if kind not in _HEADS:
        raise UserError(
            f"model_type is {kind}, and only a plain ViT (vit, vit_mae) is read", folder / _CONFIG, "take another model"
        )
    if (channels := settings.get("num_channels", 3)) != 3:
        raise UserError(f"num_channels is {channels}, and images have 3", folder / _CONFIG, "take another model")
    return _HEADS[kind]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the report of loose tensors, which are refused, and without a bar for half a second's work."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
