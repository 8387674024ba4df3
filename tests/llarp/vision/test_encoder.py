"""The masked autoencoder learns, by seed; its encoder is read back whole or refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from llarp.config import VisionConfig
from llarp.errors import UserError
from llarp.vision import mae
from llarp.vision.encoder import load_encoder
from llarp.vision.mae import train_mae

CONFIG = VisionConfig(
    encoder="mae-tiny", weights=None, output="patches", frames=64, epochs=12, batch_size=16, lr=3e-3, mask_ratio=0.75,
    patch=8, dim=16, depth=1, heads=2, units=256,
)  # fmt: skip


def frames(count=64, edge=32, seed=0):
    """Squares of one colour on another."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, edge, edge, 3), np.uint8)
    for image in images:
        image[:] = rng.integers(0, 256, 3)
        top, left = rng.integers(0, edge - 12, 2)
        image[top : top + 12, left : left + 12] = rng.integers(0, 256, 3)
    return images


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of a tiny encoder, losses of its training)."""
    losses = []
    folder = tmp_path_factory.mktemp("mae") / "encoder"
    train_mae(frames(), CONFIG, 3, folder, lambda step, metrics: losses.append(metrics["loss/reconstruction"]))
    return folder, losses


@pytest.fixture
def folder(trained, tmp_path):
    """A copy that a test may damage."""
    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_reconstruction_gets_better(trained):
    losses = trained[1]
    assert len(losses) == 48
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_the_seed_decides_everything(trained, tmp_path):
    torch.manual_seed(1)  # what was drawn before must not matter
    again = train_mae(frames(), CONFIG, 3, tmp_path / "again")
    assert again.identity == load_encoder(trained[0]).identity
    assert train_mae(frames(), CONFIG, 4, tmp_path / "other").identity != again.identity


def test_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.random.get_rng_state()
    train_mae(frames(16), CONFIG.model_copy(update={"epochs": 1}), 3, tmp_path / "encoder")
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_was_trained_is_what_is_loaded(trained, tmp_path):
    encoder = train_mae(frames(), CONFIG, 3, tmp_path / "again")
    images = frames(5, seed=1)
    np.testing.assert_array_equal(load_encoder(tmp_path / "again").encode(images), encoder.encode(images))


@pytest.mark.parametrize(("output", "tokens"), [("cls", 1), ("mean", 1), ("patches", 16)])
def test_outputs_have_their_shapes(trained, output, tokens):
    encoder = load_encoder(trained[0], output)
    features = encoder.encode(frames(3))
    assert features.shape == (3, encoder.num_tokens, encoder.dim) == (3, tokens, 16)
    assert features.dtype == np.float32
    assert encoder.encode(frames(0)).shape == (0, tokens, 16)


def test_the_mean_is_that_of_the_patches(trained):
    patches = load_encoder(trained[0], "patches").encode(frames(3))
    np.testing.assert_allclose(
        load_encoder(trained[0], "mean").encode(frames(3)), patches.mean(1, keepdims=True), atol=1e-6
    )


def test_units_are_the_maximum_and_mean_of_the_hidden_layer(trained):
    encoder, images = load_encoder(trained[0], "units"), frames(3)
    features = encoder.encode(images)
    num_units = encoder.model.config.intermediate_size
    assert features.shape == (3, encoder.num_tokens, encoder.dim) == (3, 1, 2 * num_units)
    layer = encoder.model.layers[-1]
    with torch.no_grad():
        hidden = encoder.model.embeddings(encoder.preprocessing.prepare(images))
        hidden = hidden + layer.attention(layer.layernorm_before(hidden), None)[0]
        units = torch.relu(layer.mlp.fc1(layer.layernorm_after(hidden)))[:, 1:].numpy()
    np.testing.assert_allclose(features[:, 0, :num_units], units.max(1), atol=1e-5)
    np.testing.assert_allclose(features[:, 0, num_units:], units.mean(1), atol=1e-5)


def placed(tmp_path, **change):
    """An encoder whose units were placed from frames of squares."""
    return train_mae(
        frames(256), CONFIG.model_copy(update={"output": "units", "epochs": 0, "patch": 4} | change), 3, tmp_path / "e"
    )


def test_placed_units_answer_to_few_patches_and_differ(tmp_path):
    encoder = placed(tmp_path)
    weights = encoder.model.layers[-1].mlp.fc1.weight
    np.testing.assert_allclose(weights.norm(dim=1).numpy(), 1, atol=1e-4)
    with torch.no_grad():
        hidden = encoder.model.embeddings(encoder.preprocessing.prepare(frames(256)))
        units = encoder.model.layers[-1].mlp.fc1(encoder.model.layers[-1].layernorm_after(hidden)).relu()[:, 1:]
    assert 0 < (units > 0).float().mean() < 5 * mae.ANSWERED
    assert len(torch.unique(weights.round(decimals=3), dim=0)) > 200


def test_more_units_than_patches_to_place_them_by(tmp_path):
    encoder = placed(tmp_path, units=8192, patch=16, dim=8)
    assert np.isfinite(encoder.encode(frames(2))).all()


def test_positions_are_told_apart_in_encoder_and_decoder():
    model = mae._model(CONFIG, edge=32)
    for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert len(torch.unique(table[0].detach(), dim=0)) == 17 and not table.requires_grad


@pytest.fixture(params=[1, 2])
def threads(request):
    """With two of them, products of as few patches are summed otherwise when there are more images."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("output", ["cls", "mean", "patches", "units"])
def test_features_do_not_depend_on_the_rest_of_the_batch(trained, output, threads):
    encoder, images = load_encoder(trained[0], output), frames(33, seed=2)
    together = encoder.encode(images)
    alone = np.concatenate([encoder.encode(image[None]) for image in images])
    np.testing.assert_array_equal(alone, together)
    order = np.random.default_rng(0).permutation(33)
    np.testing.assert_array_equal(encoder.encode(images[order]), together[order])
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_nothing_is_masked_when_encoding(trained):
    encoder, images = load_encoder(trained[0]), frames(2)
    np.testing.assert_array_equal(encoder.encode(images), encoder.encode(images))


def test_the_identity_knows_the_output_and_the_preprocessing(trained, folder):
    whole = load_encoder(folder, "cls")
    assert whole.identity != load_encoder(folder, "mean").identity
    assert load_encoder(trained[0]).with_output("cls").identity == whole.identity
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["image_mean"][0] += 0.1
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="not those it was written for"):
        load_encoder(folder, "cls")
    (folder / "encoder.json").unlink()
    assert load_encoder(folder, "cls").identity != whole.identity


def test_images_of_another_type_are_refused(trained):
    with pytest.raises(ValueError, match=r"float32\[2, 32, 32, 3\], not uint8"):
        load_encoder(trained[0]).encode(frames(2).astype(np.float32))


def test_images_of_another_size_are_resized(trained):
    encoder = load_encoder(trained[0])
    large = frames(2).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(encoder.encode(large).mean(), encoder.encode(frames(2)).mean(), atol=0.05)


def test_a_missing_tensor_is_never_left_random(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks tensors \(1\): layers\.0\.attention\.q_proj\.weight"):
        load_encoder(folder)


def test_a_tensor_without_use_is_named(folder):
    tensors = load_file(folder / "model.safetensors") | {"embeddings.register": np.ones(3, np.float32)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"unknown tensors \(1\): embeddings\.register"):
        load_encoder(folder)


def test_a_tensor_of_another_shape_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.weight"] = np.ones(3, np.float32)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"misshapen tensors \(1\): layernorm\.weight \[3\] instead of \[16\]"):
        load_encoder(folder)


def test_changed_weights_are_noticed(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.weight"] = tensors["layernorm.weight"] * 1.01
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for output in (None, "cls"):
        with pytest.raises(UserError, match="not those it was written for"):
            load_encoder(folder, output)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_or_cut_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=name if name.endswith("json") else "cannot be loaded"):
        load_encoder(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("images", "change", "key"),
    [
        (frames(16)[:, :, :24], {}, "vision.patch"),
        (frames(16), {"patch": 7}, "vision.patch"),
        (frames(16), {"heads": 3}, "vision.dim"),
        (frames(8), {}, "vision.batch_size"),
        (frames(16), {"epochs": 0}, "vision.epochs"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path, images, change, key):
    with pytest.raises(UserError, match=f"^{key}"):
        train_mae(images, CONFIG.model_copy(update=change), 0, tmp_path / "encoder")
    assert not list(tmp_path.iterdir())
