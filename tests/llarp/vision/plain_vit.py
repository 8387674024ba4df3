"""Checkpoints in the layout of the original masked autoencoder, and a ViT written out that reads them."""

import torch
from torch.nn import functional

from llarp.vision.vc1 import Shape

SMALL = Shape(dim=128, depth=2, patch=8, grid=4, hidden=96)
HEAD_WIDTH = 64


def checkpoint_tensors(shape=SMALL, seed=0):
    """Random tensors, the decoder's included; names and shapes are written out here once more, on purpose."""
    dim, depth, patch, grid, hidden = shape
    generator = torch.Generator().manual_seed(seed)
    spread = min(0.1, dim**-0.5)

    def tensor(*sizes):
        return spread * torch.randn(*sizes, generator=generator)

    def linear(name, rows, columns):
        return {f"{name}.weight": tensor(rows, columns), f"{name}.bias": tensor(rows)}

    def norm(name):
        return {f"{name}.weight": 1 + tensor(dim), f"{name}.bias": tensor(dim)}

    tensors = {
        "cls_token": tensor(1, 1, dim),
        "pos_embed": tensor(1, grid**2 + 1, dim),
        "patch_embed.proj.weight": tensor(dim, 3, patch, patch),
        "patch_embed.proj.bias": tensor(dim),
        **norm("norm"),
        "mask_token": tensor(1, 1, 16),
        "decoder_pos_embed": tensor(1, grid**2 + 1, 16),
        **linear("decoder_embed", 16, dim),
        **linear("decoder_blocks.0.attn.qkv", 48, 16),
        **linear("decoder_pred", 3 * patch**2, 16),
    }
    for block in range(depth):
        name = f"blocks.{block}"
        tensors |= norm(f"{name}.norm1") | norm(f"{name}.norm2")
        tensors |= linear(f"{name}.attn.qkv", 3 * dim, dim) | linear(f"{name}.attn.proj", dim, dim)
        tensors |= linear(f"{name}.mlp.fc1", hidden, dim) | linear(f"{name}.mlp.fc2", dim, hidden)
    return tensors


def plain_vit(t, pixels, shape=SMALL, eps=1e-6):
    """float[N, 1 + P, D] after the last layer norm, of float[N, 3, H, W] pixels."""
    dim, depth, patch, grid, _ = shape
    heads = dim // HEAD_WIDTH

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]

    def linear(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    patches = pixels.unfold(2, patch, patch).unfold(3, patch, patch)  # N, 3, rows, columns, patch, patch
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), grid**2, -1)
    x = patches @ t["patch_embed.proj.weight"].reshape(dim, -1).T + t["patch_embed.proj.bias"]
    x = torch.cat([t["cls_token"].expand(len(x), 1, dim), x], 1) + t["pos_embed"]
    for block in range(depth):
        name = f"blocks.{block}"
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").reshape(len(x), -1, 3, heads, HEAD_WIDTH)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / HEAD_WIDTH**0.5).softmax(-1)
        x = x + linear((weights @ v).transpose(1, 2).reshape(x.shape), f"{name}.attn.proj")
        x = x + linear(functional.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
    return norm(x, "norm")
