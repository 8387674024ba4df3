"""The frozen visual encoder: a ViT of `transformers`, read from a folder.

The folder is what `transformers` writes: `config.json`, `model.safetensors` and `preprocessor_config.json`, beside
`encoder.json`, which says which visual tokens are used. Legend: N images, P tokens, D width.

On a CPU every image is encoded by itself, so that its features are the same to the last bit whatever else is encoded in
the same call: products of other sizes may be summed in another order (seen with two threads and few patches, never yet
with one thread). It costs little. With one thread VC-1's base is as fast as in batches, and the default encoder does
630 images/s, against 740 in batches of 16 and 540 in batches of 64, which leave the cache. On a GPU a call is one
batch, and features may differ in the last place.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from llarp.config import Section
from llarp.errors import UserError
from llarp.files import folder_aside
from llarp.vision.base import Encoder

if TYPE_CHECKING:
    import torch
    from transformers import ViTModel

CODE_VERSION = 1
"""Raised whenever the code here changes what it computes, so that old features are not mixed with new ones."""

Output = Literal["cls", "mean", "patches", "units"]

_HEADS = ("pooler.", "decoder.", "decoder_", "mask_token", "classifier.")
"""Tensors of checkpoints that belong to no encoder and may be left unread."""
_PREPROCESSING, _ENCODER = "preprocessor_config.json", "encoder.json"


class Preprocessing(Section):
    """From uint8 pixels to the network's input, in the words of `preprocessor_config.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # those files carry many keys of no effect

    do_resize: bool = Field(description="resize before anything else")
    size: dict[str, int] = Field(description="{shortest_edge} or {height, width}, pixels")
    resample: Literal[2, 3] = Field(default=3, description="2: bilinear, 3: bicubic")
    do_center_crop: bool = Field(default=False, description="cut the middle out after resizing")
    crop_size: dict[str, int] | None = Field(default=None, description="{height, width}, pixels")
    image_mean: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")
    image_std: tuple[float, float, float] = Field(description="per channel, of pixels in 0..1")

    def prepare(self, images: np.ndarray) -> "torch.Tensor":
        """float32[N, 3, h, w] input of uint8[N, H, W, 3] images."""
        import torch

        if self.do_resize and images.shape[1:3] != self._resized(images.shape[1:3]):
            images = self._resize(images)
        if self.do_center_crop and self.crop_size is not None:
            height, width = self.crop_size["height"], self.crop_size["width"]
            top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
            images = images[:, top : top + height, left : left + width]
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.image_mean, self.image_std))
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
        return pixels.div_(255).sub_(mean).div_(std)

    def _resized(self, shape: Sequence[int]) -> tuple[int, int]:
        """(height, width) after resizing; the longer edge is cut off to whole pixels."""
        if "shortest_edge" not in self.size:
            return self.size["height"], self.size["width"]
        edge, short = self.size["shortest_edge"], min(shape)
        return int(shape[0] * edge / short), int(shape[1] * edge / short)

    def _resize(self, images: np.ndarray) -> np.ndarray:
        from PIL import Image

        height, width = self._resized(images.shape[1:3])
        how = Image.Resampling(self.resample)
        return np.stack([np.asarray(Image.fromarray(image).resize((width, height), how)) for image in images])


class ViTEncoder(Encoder):
    """A frozen ViT."""

    def __init__(self, model: "ViTModel", preprocessing: Preprocessing, output: Output, origin: str = "") -> None:
        """Args:
        model: without a pooling layer, in evaluation mode from now on.
        preprocessing: of its images.
        output: `cls` the class token, `mean` the mean of the patches, `patches` all of them, each after the last
            layer norm; `units` what the hidden units of the last layer's feed-forward network answer to the
            patches: the maximum of each unit ("is it anywhere?"), then the mean of each ("how much of it?").
        origin: what else identifies the weights, such as the sha256 of the checkpoint they were converted from.
        """
        self.model = model.eval().requires_grad_(False)
        self.preprocessing, self.output, self.origin = preprocessing, output, origin
        self.num_tokens = model.embeddings.patch_embeddings.num_patches if output == "patches" else 1
        self.dim = 2 * model.config.intermediate_size if output == "units" else model.config.hidden_size
        self.identity = self._identity()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Encoder.encode`. ValueError when the images are no uint8[N, H, W, 3]."""
        import torch

        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are {images.dtype}{list(images.shape)}, not uint8[N, H, W, 3]")
        if not len(images):
            return np.empty((0, self.num_tokens, self.dim), np.float32)
        size = 1 if self.model.device.type == "cpu" else len(images)  # see the module's docstring
        with torch.inference_mode():
            return np.concatenate([self._encode(images[first : first + size]) for first in range(0, len(images), size)])

    def _encode(self, images: np.ndarray) -> np.ndarray:
        """float32[N, P, D], as one batch."""
        pixels = self.preprocessing.prepare(images).to(self.model.device)
        if self.output == "units":
            return self._units(pixels)[:, None].cpu().numpy()
        tokens_NPD = self.model(pixels).last_hidden_state
        if self.output == "cls":
            return tokens_NPD[:, :1].cpu().numpy()
        patches_NPD = tokens_NPD[:, 1:]
        return (patches_NPD if self.output == "patches" else patches_NPD.mean(dim=1, keepdim=True)).cpu().numpy()

    def _units(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """float32[N, 2 U] maximum and mean over the patches of the last layer's U hidden units."""
        import torch

        answers: list[torch.Tensor] = []
        second = self.model.layers[-1].mlp.fc2  # what it is given are the hidden units' answers
        hook = second.register_forward_pre_hook(lambda _, inputs: answers.append(inputs[0][:, 1:]))
        try:
            self.model(pixels)
        finally:
            hook.remove()
        return torch.cat([answers[0].amax(1), answers[0].mean(1)], 1)

    def with_output(self, output: Output) -> "ViTEncoder":
        """The same network with other visual tokens."""
        return ViTEncoder(self.model, self.preprocessing, output, self.origin)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the folder that `load_encoder` reads: whole or not at all."""
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        with folder_aside(folder) as aside:
            self.model.save_pretrained(aside)
            (aside / _PREPROCESSING).write_text(self.preprocessing.model_dump_json(indent=1) + "\n")
            settings = {"output": self.output, "origin": self.origin, "identity": self.identity}
            (aside / _ENCODER).write_text(json.dumps(settings, indent=1) + "\n")

    def _identity(self) -> str:
        """Digest of the weights, what shapes their use, the preprocessing, the output and the code's version."""
        config = self.model.config
        used = [config.num_attention_heads, config.hidden_act, config.layer_norm_eps, config.image_size]
        digest = hashlib.sha256()
        settings = [CODE_VERSION, self.output, self.origin, self.preprocessing.model_dump(), used]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_encoder(folder: str | os.PathLike[str], output: Output | None = None) -> ViTEncoder:
    """Reads a frozen ViT from a folder; nothing is ever left at random.

    Args:
        folder: as `ViTEncoder.save` or `transformers` writes it.
        output: visual tokens to use; None: as `encoder.json` says.

    Raises:
        UserError: a file is missing or damaged, a tensor is missing, has another shape or would not be used, or the
            weights are not those that `encoder.json` was written for.

    """
    from transformers import ViTModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # half a second's work
    folder = Path(folder)
    settings = _read_json(folder / _ENCODER) if (folder / _ENCODER).exists() else {}
    try:
        preprocessing = Preprocessing.model_validate(_read_json(folder / _PREPROCESSING))
    except ValidationError as error:
        first = error.errors()[0]
        where = folder / _PREPROCESSING
        raise UserError(f"key {first['loc'][0]}: {first['msg']}", where, "mend it or take another encoder") from None
    _read_json(folder / "config.json")
    if not (folder / "model.safetensors").is_file():
        raise UserError("file is missing", folder / "model.safetensors", "train or convert the encoder again")
    try:
        loaded: Any = ViTModel.from_pretrained(
            folder, add_pooling_layer=False, output_loading_info=True, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # safetensors and transformers raise many kinds for damaged files
        raise UserError(f"cannot be loaded ({error})", folder, "train or convert the encoder again") from error
    model, info = loaded
    refuse_loose_tensors(folder, info["missing_keys"], info["unexpected_keys"])
    chosen = output or settings.get("output")
    if chosen is None:
        raise UserError("does not say which output to use", folder / _ENCODER, 'write {"output": "cls"} there')
    encoder = ViTEncoder(model.float(), preprocessing, chosen, settings.get("origin", ""))
    if output is None and settings.get("identity", encoder.identity) != encoder.identity:
        raise UserError("its weights are not those it was written for", folder, "train or convert the encoder again")
    return encoder


def refuse_loose_tensors(where: Path, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """UserError unless every parameter was filled and every tensor of an encoder was used."""
    unused = sorted(name for name in unexpected if not name.removeprefix("vit.").startswith(_HEADS))
    for names, what in ((sorted(missing), "lacks"), (unused, "holds unknown")):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise UserError(
                f"{what} {len(names)} tensors of a ViT: {shown}", where, "take the checkpoint of a plain ViT"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "train or convert the encoder again") from error
    except ValueError as error:
        raise UserError(f"is no JSON: {error}", path, "train or convert the encoder again") from error
