"""Every generation of `preprocessor_config.json` is read, and what is not done here is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from llarp.errors import UserError
from llarp.vision.preprocessing import Preprocessing, read_preprocessing

MEAN_STD = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.125]}
FIRST = {"do_normalize": True, "do_resize": True, "resample": 2, "size": 32, **MEAN_STD}
"""As of google/vit-base-patch16-224-in21k."""
SECOND = {**FIRST, "feature_extractor_type": "ViTFeatureExtractor"}
THIRD = {
    **FIRST,
    "image_processor_type": "ViTImageProcessor",
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 32, "width": 32},
}
FAST = {
    **THIRD,
    "image_processor_type": "ViTImageProcessorFast",
    "crop_size": None,
    "do_center_crop": None,
    "do_convert_rgb": None,
    "data_format": "channels_first",
    "device": None,
    "size_divisor": None,
}


def read(folder, values):
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return read_preprocessing(folder / "preprocessor_config.json")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("values", [FIRST, SECOND, THIRD, FAST])
def test_every_generation_means_the_same(tmp_path, images, values):
    found = read(tmp_path, values).prepare(images)
    rows = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) / 255 for image in images]
    expected = (np.stack(rows) - MEAN_STD["image_mean"]) / MEAN_STD["image_std"]
    np.testing.assert_allclose(found.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_transformers_own_processor_prepares_the_same(tmp_path, images):
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    theirs = ViTImageProcessorPil(size={"height": 24, "width": 40}, resample=3)
    theirs.save_pretrained(tmp_path)
    ours = read_preprocessing(tmp_path / "preprocessor_config.json")
    assert ours.input_size == (24, 40)
    expected = theirs([Image.fromarray(image) for image in images], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours.prepare(images), expected, rtol=0, atol=1e-5)


def test_without_normalising_pixels_stay_in_0_to_1(tmp_path, images):
    values = {key: value for key, value in FIRST.items() if not key.startswith("image_")} | {"do_normalize": False}
    pixels = read(tmp_path, values).prepare(np.full_like(images, 255))
    assert torch.equal(pixels, torch.ones(3, 3, 32, 32))


def test_what_a_file_leaves_out_is_as_in_transformers(tmp_path):
    assert read(tmp_path, {"size": 32, **MEAN_STD}).resample == 2


def test_ours_is_read_as_it_was_written(tmp_path):
    ours = Preprocessing(
        do_resize=True, size={"shortest_edge": 40}, do_center_crop=True, crop_size={"height": 32, "width": 24},
        image_mean=(0.1, 0.2, 0.3), image_std=(0.4, 0.5, 0.6),
    )  # fmt: skip
    assert read(tmp_path, ours.model_dump()) == ours and ours.input_size == (32, 24)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "CLIPImageProcessor is not a ViT's"),
        ({"feature_extractor_type": "ConvNextFeatureExtractor"}, "ConvNextFeatureExtractor is not a ViT's"),
        ({"do_rescale": False}, "divided by 255"),
        ({"rescale_factor": 1 / 127.5}, "divided by 255"),
        ({"rescale_factor": "1/255"}, "divided by 255"),
        ({"do_pad": True}, "do_pad"),
        ({"do_resize": False}, "key do_resize"),
        ({"resample": 0}, "key resample"),
        ({"size": {"longest_edge": 32}}, "key size"),
        ({"size": {"height": 32}}, "key size"),
        ({"size": {"shortest_edge": 32}}, "inputs of many sizes"),
        ({"size": 0}, "key size"),
        ({"size": None}, "key size"),
        ({"size": "32"}, "key size"),
        ({"image_mean": [0.5]}, "key image_mean"),
        ({"image_mean": None}, "key image_mean"),
        ({"image_std": [0.5, 0.0, 0.5]}, "key image_std"),
        ({"do_center_crop": True}, "needs a crop_size"),
        ({"do_center_crop": True, "crop_size": 33}, "more than size leaves"),
    ],
)
def test_what_is_not_done_here_is_refused(tmp_path, change, words):
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, FIRST | change)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{", '"size"'])
def test_what_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(text)
    with pytest.raises(UserError, match="JSON"):
        read_preprocessing(path)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_preprocessing(path)
