"""A small policy on the embedded backbone whose actions differ from image to image, saved as the pipeline saves it."""

import shutil
from pathlib import Path

import numpy as np
import torch

from llarp.config import load_params
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy, Trajectories
from llarp.vision.mae import train_mae

ROOT = Path(__file__).parents[3]
INSTRUCTIONS = ("Move an apple to the sofa", "Open the fridge, please", "Find a ball")


def images(count, seed=0, edge=32):
    """uint8[count, edge, edge, 3]: squares of one colour on another."""
    rng = np.random.default_rng(seed)
    drawn = np.empty((count, edge, edge, 3), np.uint8)
    for image in drawn:
        image[:] = rng.integers(0, 256, 3)
        top, left = rng.integers(0, edge - 12, 2)
        image[top : top + 12, left : left + 12] = rng.integers(0, 256, 3)
    return drawn


def save(folder):
    """Writes policy/, encoder/ and params.yaml, as a model version holds them."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "presets" / "test.yaml", folder / "params.yaml")
    params = load_params(folder / "params.yaml")
    seen = images(64)
    encoder = train_mae(seen, params.vision, 3, folder / "encoder")
    torch.manual_seed(5)
    policy = LLaRPPolicy(load_backbone(params.policy), params.policy, (encoder.num_tokens, encoder.dim))
    features = encoder.encode_halves(seen[:30])
    sharpen(policy, Trajectories(INSTRUCTIONS, [10] * 3, features, np.full(30, len(policy.actions))))
    policy.save(folder / "policy")
    return folder


@torch.no_grad()
def sharpen(policy, seen):
    """Large and centred logits: no action is the answer to all, and rounding decides nothing."""
    actor = policy.adapters.action.actor
    torch.nn.init.normal_(actor.weight, std=100.0)
    logits, _ = policy.evaluate(seen)
    actor.bias -= logits.mean(0)
