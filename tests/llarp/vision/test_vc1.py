"""VC-1's checkpoints are converted whole: the network equals a plain ViT that reads the original tensors."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from llarp.errors import UserError
from llarp.vision.encoder import load_encoder
from llarp.vision.vc1 import load_vc1

DIM, DEPTH, HEADS, PATCH, GRID, HIDDEN = 128, 2, 2, 8, 4, 96


def checkpoint_tensors(seed=0):
    """Random tensors in the layout of the original masked autoencoder, decoder included."""
    generator = torch.Generator().manual_seed(seed)

    def tensor(*shape):
        return 0.1 * torch.randn(*shape, generator=generator)

    def linear(name, rows, columns):
        return {f"{name}.weight": tensor(rows, columns), f"{name}.bias": tensor(rows)}

    def norm(name, width):
        return {f"{name}.weight": 1 + tensor(width), f"{name}.bias": tensor(width)}

    tensors = {
        "cls_token": tensor(1, 1, DIM),
        "pos_embed": tensor(1, GRID**2 + 1, DIM),
        "patch_embed.proj.weight": tensor(DIM, 3, PATCH, PATCH),
        "patch_embed.proj.bias": tensor(DIM),
        **norm("norm", DIM),
        "mask_token": tensor(1, 1, 16),
        "decoder_pos_embed": tensor(1, GRID**2 + 1, 16),
        **linear("decoder_embed", 16, DIM),
        **linear("decoder_blocks.0.attn.qkv", 48, 16),
    }
    for block in range(DEPTH):
        name = f"blocks.{block}"
        tensors |= norm(f"{name}.norm1", DIM) | norm(f"{name}.norm2", DIM)
        tensors |= linear(f"{name}.attn.qkv", 3 * DIM, DIM) | linear(f"{name}.attn.proj", DIM, DIM)
        tensors |= linear(f"{name}.mlp.fc1", HIDDEN, DIM) | linear(f"{name}.mlp.fc2", DIM, HIDDEN)
    return tensors


def plain_vit(t, pixels):
    """float[N, 1 + P, D] of a ViT written out, layer norms of epsilon 1e-6."""

    def norm(x, name):
        return functional.layer_norm(x, (DIM,), t[f"{name}.weight"], t[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    patches = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # N, 3, rows, columns, PATCH, PATCH
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), GRID**2, -1)
    x = patches @ t["patch_embed.proj.weight"].reshape(DIM, -1).T + t["patch_embed.proj.bias"]
    x = torch.cat([t["cls_token"].expand(len(x), 1, DIM), x], 1) + t["pos_embed"]
    for block in range(DEPTH):
        name = f"blocks.{block}"
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").reshape(len(x), -1, 3, HEADS, DIM // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5).softmax(-1)
        x = x + linear((weights @ v).transpose(1, 2).reshape(x.shape), f"{name}.attn.proj")
        x = x + linear(functional.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
    return norm(x, "norm")


def preprocessed(images):
    """Resize the shorter edge to 256, cut out the middle 32, mean and deviation of ImageNet: with PIL alone."""
    edge = PATCH * GRID
    rows = []
    for image in images:
        picture = Image.fromarray(image)
        scale = 256 / min(picture.size)
        picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        rows.append(np.asarray(picture.crop((left, top, left + edge, top + edge))) / 255.0)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.tensor((np.stack(rows) - mean) / std).float().permute(0, 3, 1, 2)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "vc1.pth"
    torch.save({"model": checkpoint_tensors(), "args": argparse.Namespace(lr=1), "epoch": 3}, path)
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)


def test_it_computes_what_the_original_does(checkpoint, images):
    expected = plain_vit(checkpoint_tensors(), preprocessed(images)).numpy()
    np.testing.assert_allclose(load_vc1(checkpoint).encode(images), expected[:, :1], atol=2e-5)
    np.testing.assert_allclose(load_vc1(checkpoint, "patches").encode(images), expected[:, 1:], atol=2e-5)


def test_it_is_read_back_from_a_folder(checkpoint, images, tmp_path):
    encoder = load_vc1(checkpoint)
    encoder.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    assert again.identity == encoder.identity and (again.num_tokens, again.dim) == (1, DIM)
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))


def test_the_identity_knows_the_checkpoint_file(checkpoint, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"model": checkpoint_tensors(), "epoch": 4}, other)
    assert load_vc1(checkpoint).identity != load_vc1(other).identity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blocks.1.mlp.fc2.bias"), r"lacks 1 tensors.*layers\.1\.mlp\.fc2\.bias"),
        (lambda t: t.update({"blocks.0.gamma_1": torch.ones(3)}), r"unknown 1 tensors.*gamma_1"),
        (lambda t: t.update({"head.weight": torch.ones(3)}), r"unknown 1 tensors.*head\.weight"),
        (lambda t: t.update({"norm.bias": torch.ones(3)}), "other shapes"),
        (lambda t: t.pop("pos_embed"), "no masked autoencoder's checkpoint"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    tensors = checkpoint_tensors()
    change(tensors)
    torch.save({"model": tensors}, tmp_path / "vc1.pth")
    with pytest.raises(UserError, match=message):
        load_vc1(tmp_path / "vc1.pth")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "vc1.pth"
    with pytest.raises(UserError, match="cannot be read"):
        load_vc1(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="no checkpoint of tensors alone"):
        load_vc1(path)
    torch.save(checkpoint_tensors(), path)
    with pytest.raises(UserError, match='under the key "model"'):
        load_vc1(path)


class _Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save({"model": checkpoint_tensors(), "args": _Touches(tmp_path / "made")}, tmp_path / "vc1.pth")
    with pytest.raises(UserError, match="no checkpoint of tensors alone"):
        load_vc1(tmp_path / "vc1.pth")
    assert not (tmp_path / "made").exists()
