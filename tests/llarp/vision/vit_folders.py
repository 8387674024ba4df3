"""Folders that `transformers` writes: small random networks with the preprocessing of a ViT."""

import json

import torch
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
DECODER = {
    "decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}  # fmt: skip
PREPROCESSING = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "resample": 2, "size": 32,
}  # fmt: skip
MAKERS = {
    "plain": lambda **more: ViTModel(ViTConfig(**SIZES, **more), add_pooling_layer=False),
    "pooled": lambda **more: ViTModel(ViTConfig(**SIZES, **more)),
    "classifier": lambda **more: ViTForImageClassification(ViTConfig(**SIZES, **more)),
    "autoencoder": lambda **more: ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **DECODER, **more)),
    "masked": lambda **more: ViTForMaskedImageModeling(ViTConfig(**SIZES, **more)),
}


def write_vit(folder, kind="plain", **more):
    """Writes a network whose every tensor is random, the biases too, and returns its encoder."""
    generator = torch.Generator().manual_seed(0)
    model = MAKERS[kind](**more).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return getattr(model, "vit", model)


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
