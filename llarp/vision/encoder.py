"""The frozen visual encoder: a ViT of `transformers`, read from a folder.

The folder is what `transformers` writes: `config.json`, `model.safetensors` and `preprocessor_config.json`, beside
`encoder.json`, which says which visual tokens are used, and where the weights come from. Legend: N images, P tokens, D
width.

On a CPU every image is encoded by itself, so that its features are the same to the last bit whatever else is encoded in
the same call: products of other sizes may be summed in another order (seen with two threads and few patches, never yet
with one thread). It costs little. With one thread VC-1's base is as fast as in batches, and the default encoder does
630 images/s, against 740 in batches of 16 and 540 in batches of 64, which leave the cache. On a GPU a call is one
batch, and features may differ in the last place.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from llarp.errors import UserError
from llarp.files import folder_aside, sha256
from llarp.vision.base import Encoder
from llarp.vision.json_files import read_json
from llarp.vision.preprocessing import Preprocessing, read_preprocessing
from llarp.vision.provenance import OWN, UNKNOWN, Provenance, licence_of
from llarp.vision.vit_folder import WEIGHTS, read_vit

if TYPE_CHECKING:
    import torch
    from transformers import ViTModel

CODE_VERSION = 1
"""Raised whenever the code here changes what it computes, so that old features are not mixed with new ones."""

Output = Literal["cls", "mean", "patches", "units"]

_PREPROCESSING, _ENCODER = "preprocessor_config.json", "encoder.json"
_AGAIN = "train or convert the encoder again"


class ViTEncoder(Encoder):
    """A frozen ViT."""

    def __init__(
        self, model: "ViTModel", preprocessing: Preprocessing, output: Output, provenance: Provenance = OWN
    ) -> None:
        """Args:
        model: without a pooling layer, in evaluation mode from now on.
        preprocessing: of its images.
        output: `cls` the class token, `mean` the mean of the patches, `patches` all of them, each after the last
            layer norm; `units` what the hidden units of the last layer's feed-forward network answer to the
            patches: the maximum of each unit ("is it anywhere?"), then the mean of each ("how much of it?").
        provenance: of the weights; the digest of the file that they come from is part of the identity.
        """
        self.model = model.eval().requires_grad_(False)
        self.preprocessing, self.output, self.provenance = preprocessing, output, provenance
        self.num_tokens, self.dim = self._shape(output)
        self.identity = self._identity()
        # Placed units look at their own patch alone, and adding nothing need not be worked out.
        last: Any = model.layers[-1]
        self._attends = any(part.any() for part in last.attention.o_proj.parameters())

    def encode(self, images: np.ndarray) -> np.ndarray:
        """See `Encoder.encode`. ValueError when the images are no uint8[N, H, W, 3]."""
        return self.encode_all(images, [self.output])[self.output]

    def encode_all(self, images: np.ndarray, outputs: Sequence[Output]) -> dict[Output, np.ndarray]:
        """float32[N, P, D] of several outputs, for which the images go through the network at most twice."""
        import torch

        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are {images.dtype}{list(images.shape)}, not uint8[N, H, W, 3]")
        if not len(images):
            return {output: np.empty((0, *self._shape(output)), np.float32) for output in outputs}
        size = 1 if self.model.device.type == "cpu" else len(images)  # see the module's docstring
        with torch.inference_mode():
            parts = [self._encode(images[first : first + size], outputs) for first in range(0, len(images), size)]
        return {output: np.concatenate([part[output] for part in parts]) for output in outputs}

    def _shape(self, output: Output) -> tuple[int, int]:
        """(P, D) of an output."""
        num_tokens = self.model.embeddings.patch_embeddings.num_patches if output == "patches" else 1
        config = self.model.config
        return num_tokens, 2 * config.intermediate_size if output == "units" else config.hidden_size

    def _encode(self, images: np.ndarray, outputs: Sequence[Output]) -> dict[Output, np.ndarray]:
        """As `encode_all`, as one batch."""
        pixels = self.preprocessing.prepare(images, self.model.device)
        found: dict[Output, torch.Tensor] = {}
        if "units" in outputs:
            found["units"] = self._units(pixels)[:, None]
        if set(outputs) - {"units"}:
            tokens_NPD = self.model(pixels).last_hidden_state
            patches_NPD = tokens_NPD[:, 1:]
            found["cls"], found["patches"] = tokens_NPD[:, :1], patches_NPD
            found["mean"] = patches_NPD.mean(dim=1, keepdim=True)
        return {output: found[output].cpu().numpy() for output in outputs}

    def _units(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """float32[N, 2 U] maximum and mean over the patches of the last layer's U hidden units."""
        import torch

        # what follows the hidden units is not worked out: it would take a third of the time
        tokens = self.model.embeddings(pixels)
        *before, last = self.model.layers
        for layer in before:
            tokens = layer(tokens)
        if self._attends:
            tokens = tokens + last.attention(last.layernorm_before(tokens))[0]
        answers = last.mlp.activation_fn(last.mlp.fc1(last.layernorm_after(tokens)))[:, 1:]
        return torch.cat([answers.amax(1), answers.mean(1)], 1)

    def with_output(self, output: Output) -> "ViTEncoder":
        """The same network with other visual tokens."""
        return ViTEncoder(self.model, self.preprocessing, output, self.provenance)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the folder that `load_encoder` reads: whole or not at all."""
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        with folder_aside(folder) as aside:
            self.model.save_pretrained(aside)
            (aside / _PREPROCESSING).write_text(self.preprocessing.model_dump_json(indent=1) + "\n")
            settings = {"output": self.output, "identity": self.identity, **asdict(self.provenance)}
            (aside / _ENCODER).write_text(json.dumps(settings, indent=1) + "\n")

    def _identity(self) -> str:
        """Digest of the weights, what shapes their use, the preprocessing, the output and the code's version."""
        config = self.model.config
        used = [config.num_attention_heads, config.hidden_act, config.layer_norm_eps, config.image_size]
        digest = hashlib.sha256()
        settings = [CODE_VERSION, self.output, self.provenance.sha256, self.preprocessing.model_dump(), used]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_encoder(folder: str | os.PathLike[str], output: Output | None = None, source: str | None = None) -> ViTEncoder:
    """Reads a frozen ViT from a folder; nothing is ever left at random.

    Args:
        folder: as `ViTEncoder.save` or `transformers` writes it.
        output: visual tokens to use; None: as `encoder.json` says.
        source: where the folder comes from; None: as `encoder.json` says, or else its name.

    Raises:
        UserError: a file is missing or damaged, the model is no ViT, a tensor is missing, has another shape or would
            not be used, images are brought to another size than the network takes, or the weights are not those that
            `encoder.json` was written for.

    """
    folder = Path(folder)
    settings = read_json(folder / _ENCODER, _AGAIN) if (folder / _ENCODER).exists() else {}
    preprocessing = read_preprocessing(folder / _PREPROCESSING)
    model = read_vit(folder)
    edges = tuple(model.embeddings.image_size)
    if preprocessing.input_size != edges:
        (height, width), (rows, columns) = preprocessing.input_size, edges
        raise UserError(
            f"makes images of {width} x {height} pixels, and the network takes {columns} x {rows}",
            folder / _PREPROCESSING,
            "mend it or take another encoder",
        )
    written = settings.get("output")
    chosen = output or written
    if chosen is None:
        raise UserError("does not say which output to use", folder / _ENCODER, 'write {"output": "cls"} there')
    if written not in (None, *get_args(Output)):
        raise UserError(f"output {written!r} is none of {', '.join(get_args(Output))}", folder / _ENCODER, _AGAIN)
    provenance = _provenance(folder, settings, source)
    encoder = ViTEncoder(model, preprocessing, written or chosen, provenance)
    if settings.get("identity", encoder.identity) != encoder.identity:
        raise UserError("its weights are not those it was written for", folder, _AGAIN)
    return encoder if encoder.output == chosen else encoder.with_output(chosen)


def _provenance(folder: Path, settings: dict[str, Any], source: str | None) -> Provenance:
    """What `encoder.json` says of the weights, or the folder's name, its weights' digest and its model card."""
    if "identity" in settings:  # written by `ViTEncoder.save`
        name = folder.resolve().name
        return Provenance(settings.get("source", name), settings.get("sha256", ""), settings.get("licence", UNKNOWN))
    return Provenance(source or folder.resolve().name, sha256(folder / WEIGHTS), licence_of(folder))
