"""A ViT of `transformers` is read from its folder with every tensor, and nothing else is taken for one."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from vit_folders import change_config, write_vit

from llarp.errors import UserError
from llarp.vision.encoder import load_encoder
from llarp.vision.vit_folder import read_vit


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["plain", "pooled", "classifier", "autoencoder"])
def test_it_computes_what_the_model_does(tmp_path, images, kind, capfd):
    written = write_vit(tmp_path, kind)
    found = read_vit(tmp_path)
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, written.state_dict()[name]), name
    if kind in ("plain", "pooled"):
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2) / 127.5 - 1).float()
        with torch.no_grad():
            expected = written(pixels).last_hidden_state[:, 1:].numpy()
        np.testing.assert_allclose(load_encoder(tmp_path, "patches").encode(images), expected, atol=1e-4)
    assert "UNEXPECTED" not in "".join(capfd.readouterr()), "what is dropped on purpose is not worth a table"


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-12])
def test_its_epsilon_is_kept(tmp_path, eps):
    write_vit(tmp_path / "vit", layer_norm_eps=eps)
    load_encoder(tmp_path / "vit", "cls").save(tmp_path / "encoder")
    for folder in ("vit", "encoder"):
        model = load_encoder(tmp_path / folder, "cls").model
        norms = [module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
        assert norms == [eps] * 5


def test_the_activation_and_missing_biases_are_kept(tmp_path):
    write_vit(tmp_path, hidden_act="relu", qkv_bias=False)
    model = read_vit(tmp_path)
    assert (
        isinstance(model.layers[0].mlp.activation_fn, torch.nn.ReLU) and model.layers[0].attention.q_proj.bias is None
    )


def test_half_precision_is_read(tmp_path):
    written = write_vit(tmp_path)
    written.bfloat16().save_pretrained(tmp_path)
    found = read_vit(tmp_path)
    assert found.dtype == torch.float32
    assert torch.equal(found.layernorm.weight, written.layernorm.weight.float())


@pytest.mark.parametrize("kind", ["dinov2", "clip_vision_model", "siglip", "convnext", "deit", None])
def test_another_architecture_is_refused_by_its_name(tmp_path, kind):
    write_vit(tmp_path)
    change_config(tmp_path, model_type=kind)
    with pytest.raises(UserError, match=f"model_type is {kind}, and only a plain ViT"):
        load_encoder(tmp_path, "cls")


def test_the_decoder_of_an_autoencoder_is_no_head_of_a_vit(tmp_path):
    write_vit(tmp_path, "autoencoder")
    change_config(tmp_path, model_type="vit")
    with pytest.raises(UserError, match=r"unknown tensors \(\d+\): decoder\."):
        load_encoder(tmp_path, "cls")


def test_a_mask_token_is_no_head(tmp_path):
    write_vit(tmp_path, "masked")
    with pytest.raises(UserError, match=r"unknown tensors \(3\): decoder.*mask_token"):
        load_encoder(tmp_path, "cls")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_channels": 1}, "num_channels is 1"),
        ({"hidden_size": "wide"}, "makes no ViT"),
        ({"hidden_act": "none such"}, "makes no ViT"),
        ({"num_hidden_layers": 3}, r"lacks tensors \(16\): layers\.2\."),
        ({"num_hidden_layers": 1}, r"unknown tensors \(16\): \S*layers?\.1\."),
        ({"image_size": 64}, r"misshapen tensors \(1\): embeddings\.position_embeddings"),
        ({"qkv_bias": False}, r"unknown tensors \(6\)"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, values, words):
    write_vit(tmp_path)
    change_config(tmp_path, **values)
    with pytest.raises(UserError, match=words) as caught:
        load_encoder(tmp_path, "cls")
    assert "\n" not in str(caught.value)


def test_another_size_of_images_is_refused(tmp_path):
    write_vit(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"height": 32, "width": 40}}))
    with pytest.raises(UserError, match="40 x 32 pixels, and the network takes 32 x 32"):
        load_encoder(tmp_path, "cls")


def test_pickled_weights_are_not_read(tmp_path):
    write_vit(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="model.safetensors: file is missing.*safetensors alone"):
        load_encoder(tmp_path, "cls")


def test_nothing_else_in_the_folder_is_followed(tmp_path):
    """Neither an adapter, which would name another model to fetch, nor code."""
    write_vit(tmp_path)
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/other", "task_type": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    save_file({"x": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    change_config(tmp_path, auto_map={"AutoConfig": "code.C", "AutoModel": "code.M"})
    (tmp_path / "code.py").write_text("raise SystemExit(1)")
    assert type(load_encoder(tmp_path, "cls").model).__name__ == "ViTModel"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, "unknown"),
        ("# A model\n", "unknown"),
        ("---\nlicense: apache-2.0\ntags: [vision]\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: our own\n---\n", "our own"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n- mit\n---\n", "unknown"),
        ("---\nlicense: [mit\n---\n", "unknown"),
        ("---\ntags: [vision]\n---\n", "unknown"),
    ],
)
def test_the_licence_is_that_of_the_model_card(tmp_path, card, licence):
    write_vit(tmp_path / "vit")
    if card is not None:
        (tmp_path / "vit" / "README.md").write_text(card)
    encoder = load_encoder(tmp_path / "vit", "cls")
    assert (encoder.provenance.source, encoder.provenance.licence) == ("vit", licence)
    encoder.save(tmp_path / "encoder")
    assert load_encoder(tmp_path / "encoder").provenance == encoder.provenance


def test_an_output_that_there_is_not_is_refused(tmp_path):
    write_vit(tmp_path)
    with pytest.raises(UserError, match="does not say which output"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text('{"output": "pooled"}')
    with pytest.raises(UserError, match="output 'pooled' is none of cls, mean"):
        load_encoder(tmp_path)
