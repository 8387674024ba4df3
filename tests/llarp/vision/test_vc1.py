"""VC-1's checkpoints are converted whole: the network equals a plain ViT that reads the original tensors."""

import argparse
import json

import numpy as np
import pytest
import torch
from PIL import Image
from plain_vit import SMALL, checkpoint_tensors, plain_vit

from llarp.errors import UserError
from llarp.vision.encoder import load_encoder
from llarp.vision.vc1 import BASE, LARGE, PREPROCESSING, load_vc1


def preprocessed(images, edge):
    """Resize the shorter edge to 256, cut out the middle, mean and deviation of ImageNet: with Pillow and float64."""
    rows = []
    for image in images:
        picture = Image.fromarray(image)
        scale = 256 / min(picture.size)
        picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
        left, top = round((picture.width - edge) / 2), round((picture.height - edge) / 2)
        rows.append(np.asarray(picture.crop((left, top, left + edge, top + edge))) / 255.0)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.tensor((np.stack(rows) - mean) / std).float().permute(0, 3, 1, 2)


def written(path, tensors):
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1), "epoch": 3}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    return written(tmp_path / "vc1.pth", checkpoint_tensors())


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [SMALL, BASE._replace(depth=2)], ids=["small", "as wide as the base"])
def test_it_computes_what_the_original_does(tmp_path, images, shape):
    tensors = checkpoint_tensors(shape)
    encoder = load_vc1(written(tmp_path / "vc1.pth", tensors))
    with torch.no_grad():
        expected = plain_vit(tensors, preprocessed(images, shape.grid * shape.patch), shape).numpy()
    outputs = {"cls": expected[:, :1], "mean": expected[:, 1:].mean(1, keepdims=True), "patches": expected[:, 1:]}
    for output, features in outputs.items():
        chosen = encoder.with_output(output)
        assert (chosen.num_tokens, chosen.dim) == features.shape[1:]
        np.testing.assert_allclose(chosen.encode(images), features, rtol=0, atol=1e-5)


def test_the_epsilon_of_the_layer_norms_is_that_of_vc1(tmp_path, images):
    tensors = checkpoint_tensors()
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        tensors[name] *= 1e-3  # a token's variance is then of the size of epsilon
    path = written(tmp_path / "vc1.pth", tensors)
    pixels = preprocessed(images, 32)
    expected, other = (plain_vit(tensors, pixels, eps=eps).numpy()[:, 1:] for eps in (1e-6, 1e-12))
    assert np.abs(expected - other).max() > 0.1, "inputs that cannot tell"
    encoder = load_vc1(path, "patches")
    np.testing.assert_allclose(encoder.encode(images), expected, rtol=0, atol=1e-5)
    encoder.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))
    norms = [module for module in again.model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 5 and {norm.eps for norm in norms} == {1e-6}


@pytest.mark.parametrize(
    "size", [(256, 256), (224, 224), (112, 112), (100, 60), (300, 223), (301, 256), (256, 343), (480, 640), (7, 9)]
)
def test_images_are_prepared_as_for_vc1(size):
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = preprocessed(images, 224)
    found = PREPROCESSING.prepare(images)
    assert found.shape == (2, 3, 224, 224) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_it_is_read_back_from_a_folder(checkpoint, images, tmp_path):
    encoder = load_vc1(checkpoint)
    encoder.save(tmp_path / "encoder")
    again = load_encoder(tmp_path / "encoder")
    assert again.identity == encoder.identity and (again.num_tokens, again.dim) == (1, SMALL.dim)
    assert again.provenance == encoder.provenance
    np.testing.assert_array_equal(again.encode(images), encoder.encode(images))


def test_the_identity_knows_the_checkpoint_file(checkpoint, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"model": checkpoint_tensors(), "epoch": 4}, other)
    assert load_vc1(checkpoint).identity != load_vc1(other).identity


def test_half_precision_is_read(checkpoint, tmp_path, images):
    halves = {name: tensor.half() for name, tensor in checkpoint_tensors().items()}
    encoder = load_vc1(written(tmp_path / "half.pth", halves))
    assert {tensor.dtype for tensor in encoder.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(encoder.encode(images), load_vc1(checkpoint).encode(images), atol=0.02)


def drop(name):
    return lambda tensors: tensors.pop(name)


def add(name, *shape):
    return lambda tensors: tensors.update({name: torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("blocks.1.mlp.fc2.bias"), r"lacks tensors \(1\): blocks\.1\.mlp\.fc2\.bias"),
        (drop("pos_embed"), r"lacks tensors \(1\): pos_embed"),
        (drop("cls_token"), r"lacks tensors \(1\): cls_token"),
        (drop("norm.weight"), r"lacks tensors \(1\): norm\.weight"),
        (drop("blocks.0.attn.qkv.bias"), r"lacks tensors \(1\): blocks\.0\.attn\.qkv\.bias"),
        (add("blocks.0.gamma_1", 3), r"unknown tensors \(1\): blocks\.0\.gamma_1"),
        (add("blocks.x", 3), r"unknown tensors \(1\): blocks\.x"),
        (add("head.weight", 3), r"unknown tensors \(1\): head\.weight"),
        (add("fc_norm.weight", 3), r"unknown tensors \(1\): fc_norm\.weight"),
        (add("encoder.decoder_embed.weight", 3), r"unknown tensors \(1\): encoder\.decoder_embed\.weight"),
        (add("norm.bias", 3), r"misshapen tensors \(1\): norm\.bias \[3\] instead of \[128\]"),
        (add("cls_token", 128), r"misshapen tensors \(1\): cls_token \[128\] instead of \[1, 1, 128\]"),
        (add("blocks.1.attn.qkv.weight", 128, 384), r"misshapen.*qkv\.weight \[128, 384\] instead of \[384, 128\]"),
        (add("pos_embed", 1, 16, 128), r"misshapen tensors \(1\): pos_embed \[1, 16, 128\] instead of \[1, 17, 128\]"),
        (add("pos_embed", 17, 128), r"misshapen tensors \(1\): pos_embed \[17, 128\]"),
        (add("patch_embed.proj.weight", 128, 3, 8, 7), r"misshapen.*\[128, 3, 8, 7\] instead of \[128, 3, 8, 8\]"),
        (add("patch_embed.proj.weight", 128, 1, 8, 8), r"misshapen.*\[128, 1, 8, 8\] instead of \[128, 3, 8, 8\]"),
        (add("patch_embed.proj.weight", 96, 3, 8, 8), "96 wide"),
        (dict.clear, r"lacks tensors \(3\): blocks\.0\.mlp\.fc1\.weight, patch_embed\.proj\.weight, pos_embed"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    tensors = checkpoint_tensors()
    change(tensors)
    with pytest.raises(UserError, match=message) as caught:
        load_vc1(written(tmp_path / "vc1.pth", tensors))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "vc1.pth"))


@pytest.mark.parametrize("shape", [BASE, LARGE, SMALL._replace(depth=3), SMALL._replace(hidden=64)])
def test_a_checkpoint_of_another_shape_is_refused_where_one_is_asked_for(checkpoint, shape):
    with pytest.raises(UserError, match="lacks tensors|misshapen tensors"):
        load_vc1(checkpoint, shape=shape)


def test_every_tensor_of_the_decoder_is_dropped_and_no_other(checkpoint, tmp_path):
    tensors = {name: tensor for name, tensor in checkpoint_tensors().items() if not name.startswith("decoder")}
    without = load_vc1(written(tmp_path / "without.pth", tensors))
    whole = load_vc1(checkpoint)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(without.model.state_dict()[name], tensor), name


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
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="no checkpoint of tensors alone"):
        load_vc1(path)


class _Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_cannot_run_code(tmp_path):
    torch.save({"model": checkpoint_tensors(), "args": _Touches(tmp_path / "made")}, tmp_path / "vc1.pth")
    with pytest.raises(UserError, match=r"no checkpoint of tensors alone but names \S*open, which is never run"):
        load_vc1(tmp_path / "vc1.pth")
    assert not (tmp_path / "made").exists()


def test_the_folder_says_where_it_comes_from(checkpoint, tmp_path):
    encoder = load_vc1(checkpoint)
    encoder.save(tmp_path / "encoder")
    told = json.loads((tmp_path / "encoder" / "encoder.json").read_text())
    assert told == {
        "output": "cls",
        "identity": encoder.identity,
        "source": "vc1.pth",
        "sha256": encoder.provenance.sha256,
        "licence": "unknown",
    }
