"""A tiny ViT for the simulator's own frames: a masked autoencoder (He et al., arXiv 2111.06377), or a dictionary.

With `vision.epochs: 0` and the output `units` nothing is trained: the hidden units of the last layer are placed from
the frames, without labels. Patches are embedded by their principal components, attention adds nothing, and each unit is
the centre of a cluster of the layer's normalised tokens, with a bias that lets few tokens through (Coates, Lee and Ng,
AISTATS 2011). Placed units of small patches tell a linear probe more than those of an autoencoder of this size, and
training them as one undoes that (docs/experiments.md).

Deviations from the paper: tiny (see `params.yaml`), a decoder as wide as the encoder, no augmentation (the images of a
simulator have their meaning in place and size), and a few epochs of AdamW with cosine decay instead of hundreds.
"""

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from llarp.config import VisionConfig
from llarp.errors import UserError
from llarp.progress import Progress
from llarp.vision.encoder import Preprocessing, ViTEncoder

if TYPE_CHECKING:
    import torch
    from transformers import ViTMAEForPreTraining, ViTModel

WARMUP = 0.05
"""Share of the steps during which the learning rate rises."""
WEIGHT_DECAY = 0.05
DECODER_DEPTH = 1
DECODER_MLP_RATIO = 2
NORM_PIX_LOSS = False
"""Whether each patch is reconstructed relative to its own mean and deviation."""
PLACED_FRAMES = 1000
"""At most, from which the units are placed."""
PLACED_TOKENS = 60_000
"""At most, that are clustered: mostly of patches with contrast, as there is far more floor than there are objects."""
LEAST_CONTRAST = 0.01
"""Added to a patch's standard deviation, so that plain patches are drawn too."""
ROUNDS = 8
"""Of k-means."""
CONSTANT = 1.0
"""Component of each token that is the same for all, over the typical size of the others: what is left of a patch's
brightness once layer norm has scaled the token."""
POSITION_SHARE = 0.1
"""Of the sines and cosines of place: units should know things wherever they lie."""
ANSWERED = 0.01
"""Share of the clustered tokens that a unit answers to."""


def train_mae(
    frames: np.ndarray,
    config: VisionConfig,
    seed: int,
    out: str | os.PathLike[str],
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> ViTEncoder:
    """Places the units or trains the autoencoder, and writes its encoder to a folder for `load_encoder`.

    Args:
        frames: uint8[N, H, W, 3] images; square, their edge a multiple of the patch.
        config: sizes and schedule.
        seed: of the weights, the order of the frames and the masks.
        out: folder that is written, whole or not at all.
        on_metrics: called after every step with the step and its figures.

    Raises:
        UserError: the frames are not square, their edge is no multiple of the patch, or the sizes do not go together.

    """
    import torch

    _check(frames, config)
    preprocessing = _preprocessing(frames)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(config, edge=frames.shape[1]).train()
        if config.output == "units" and not config.epochs:
            chosen = torch.randperm(len(frames), generator=generator)[:PLACED_FRAMES]
            _place_units(model, preprocessing.prepare(frames[chosen.numpy()]), generator)
        batches = _batches(len(frames), config, generator)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, len(batches)))
        with Progress("masked autoencoder", len(batches), "step", bool(batches)) as progress:
            for step, batch in enumerate(batches, start=1):
                pixels = preprocessing.prepare(frames[batch])
                noise = torch.rand(len(batch), model.decoder.decoder_pos_embed.shape[1] - 1, generator=generator)
                loss = model(pixels, noise=noise).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                figures = {"loss/reconstruction": loss.item(), "lr": float(schedule.get_last_lr()[0])}
                schedule.step()
                on_metrics(step, figures)
                progress.update(loss=figures["loss/reconstruction"])
        encoder = ViTEncoder(_plain_vit(model), preprocessing, config.output)
    encoder.save(out)
    return encoder


def _check(frames: np.ndarray, config: VisionConfig) -> None:
    height, width = frames.shape[1:3]
    if height != width or height % config.patch:
        raise UserError(
            f"images of {width} x {height} pixels are not a square of patches of {config.patch}",
            "vision.patch",
            "make camera.width equal camera.height and a multiple of it",
        )
    if config.dim % config.heads or config.dim % 4:
        raise UserError(f"{config.dim} is no multiple of 4 and of {config.heads} heads", "vision.dim", "change one")
    if config.batch_size > len(frames):
        raise UserError(f"{config.batch_size} exceeds the {len(frames)} frames", "vision.batch_size", "lower it")
    if not config.epochs and config.output != "units":
        raise UserError("0 passes leave every output but units at random", "vision.epochs", "make it 1 or more")


def _preprocessing(frames: np.ndarray) -> Preprocessing:
    """Pixels scaled to mean 0 and deviation 1 per channel of the training frames; no resizing."""
    pixels = frames[:: max(1, len(frames) // 500)].reshape(-1, 3) / 255.0
    mean, std = (tuple(np.round(values, 4).tolist()) for values in (pixels.mean(0), pixels.std(0).clip(0.01)))
    size = {"height": frames.shape[1], "width": frames.shape[2]}
    return Preprocessing(do_resize=True, size=size, image_mean=mean, image_std=std)


def _batches(num_frames: int, config: VisionConfig, generator: "torch.Generator") -> list[np.ndarray]:
    """Indices of the frames of every step: each epoch in another order, a last incomplete batch left out."""
    import torch

    per_epoch = num_frames // config.batch_size
    orders = [torch.randperm(num_frames, generator=generator).numpy() for _ in range(config.epochs)]
    return [
        order[start * config.batch_size : (start + 1) * config.batch_size]
        for order in orders
        for start in range(per_epoch)
    ]


def _rate(step: int, total: int) -> float:
    """Factor of the learning rate: a linear rise, then half a cosine down to 0."""
    rise = max(1, round(WARMUP * total))
    return (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _model(config: VisionConfig, edge: int) -> "ViTMAEForPreTraining":
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=edge,
            patch_size=config.patch,
            hidden_size=config.dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=config.units,
            layer_norm_eps=1e-6,
            hidden_act="relu",  # a third of the time of GELU in layers this wide
            initializer_range=0.5 * config.dim**-0.5,  # 0.02, made for a width of 768, is slow to leave at 64
            decoder_hidden_size=config.dim,
            decoder_num_hidden_layers=DECODER_DEPTH,
            decoder_num_attention_heads=config.heads,
            decoder_intermediate_size=DECODER_MLP_RATIO * config.dim,
            mask_ratio=config.mask_ratio,
            norm_pix_loss=NORM_PIX_LOSS,
        )
    )
    # transformers 5.23 leaves both tables of positions at zero, and the decoder cannot tell one gap from another.
    positions = _positions(edge // config.patch, config.dim)
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.copy_(positions)
        model.decoder.decoder_pos_embed.copy_(positions)
    return model


def _positions(grid: int, dim: int) -> "torch.Tensor":
    """float32[1, 1 + grid * grid, dim] sines and cosines of row and column; zero for the class token."""
    import torch

    angles = torch.arange(grid)[:, None] / 10_000 ** (torch.arange(dim // 4) / (dim // 4))
    waves = torch.cat([angles.sin(), angles.cos()], 1)  # [grid, dim / 2]
    rows, columns = waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)
    table = torch.cat([rows, columns], 2).reshape(grid * grid, dim)
    return torch.cat([torch.zeros(1, dim), table])[None]


def _place_units(model: "ViTMAEForPreTraining", pixels: "torch.Tensor", generator: "torch.Generator") -> None:
    """Makes the last layer's hidden units answer to clusters of what float32[N, 3, H, W] pixels consist of."""
    import torch

    embeddings: Any = model.vit.embeddings
    layers: Any = model.vit.layers
    last, projection = layers[-1], embeddings.patch_embeddings.projection
    edge, dim = projection.stride[0], projection.out_channels
    with torch.no_grad():
        patches = torch.nn.functional.unfold(pixels, edge, stride=edge).transpose(1, 2).flatten(0, 1)
        variances, axes = torch.linalg.eigh(torch.cov(patches.T))  # ascending
        kept = min(dim - 1, len(variances))
        axes = axes.flip(1)[:, :kept].T / variances.sum().sqrt().clamp(min=1e-6)
        projection.weight.zero_()
        projection.weight[:kept] = axes.reshape(kept, 3, edge, edge)
        projection.bias.zero_()
        projection.bias[:kept] = -axes @ patches.mean(0)
        projection.bias[-1] = CONSTANT
        embeddings.position_embeddings.mul_(POSITION_SHARE)
        for layer in layers:
            layer.attention.o_proj.weight.zero_()
        contrast = patches.unflatten(1, (3, -1)).std(2).mean(1) + LEAST_CONTRAST
        # The largest of u ** (1 / weight) are a weighted draw; torch.multinomial takes no more than 2**24 candidates.
        chance = torch.rand(len(contrast), generator=generator).log() / contrast
        drawn = chance.topk(min(PLACED_TOKENS, len(contrast))).indices
        tokens = _last_tokens(_plain_vit(model), pixels)[drawn]
        centres = _cluster(tokens / tokens.norm(dim=1, keepdim=True), last.mlp.fc1.out_features, generator)
        tried = tokens[torch.randperm(len(tokens), generator=generator)[:8000]]
        answers = tried @ centres.T
        last.mlp.fc1.weight.copy_(centres)
        last.mlp.fc1.bias.copy_(-answers.topk(max(1, round(ANSWERED * len(tried))), dim=0).values[-1])


def _last_tokens(vit: "ViTModel", pixels: "torch.Tensor") -> "torch.Tensor":
    """float32[N * P, D] what the last layer's hidden units are given for every patch."""
    import torch

    tokens: list[torch.Tensor] = []
    last: Any = vit.layers[-1]
    hook = last.mlp.fc1.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0][:, 1:]))
    for part in pixels.split(4):
        vit(part)
    hook.remove()
    return torch.cat(tokens).flatten(0, 1)


def _cluster(points_TD: "torch.Tensor", count: int, generator: "torch.Generator") -> "torch.Tensor":
    """float32[count, D] centres of length 1 by spherical k-means over T points of length 1."""
    import torch

    def draw() -> "torch.Tensor":
        return points_TD[torch.randint(len(points_TD), (count,), generator=generator)]

    centres = draw()
    for _ in range(ROUNDS):
        nearest = torch.cat([(part @ centres.T).argmax(1) for part in points_TD.split(8192)])
        sums = torch.zeros_like(centres).index_add_(0, nearest, points_TD)
        lengths = sums.norm(dim=1, keepdim=True)
        centres = torch.where(lengths > 0, sums / lengths.clamp(min=1e-6), draw())  # an empty one starts again
    return centres


def _plain_vit(model: "ViTMAEForPreTraining") -> "ViTModel":
    """The encoder as a ViT that masks nothing: the same tensors under the same names."""
    from transformers import ViTConfig, ViTModel

    settings = model.config.to_dict()
    shared = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    kept = (*shared, "intermediate_size", "layer_norm_eps", "hidden_act", "num_channels", "qkv_bias")
    vit = ViTModel(ViTConfig(**{name: settings[name] for name in kept}), add_pooling_layer=False)
    vit.load_state_dict(model.vit.state_dict(), strict=True)
    return vit
