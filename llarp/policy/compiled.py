"""Layers of a frozen model, compiled by torch.compile while they read frames.

One layer is compiled for all of them, which takes seconds where the whole model would take minutes (20 s instead of 200
for six layers), and shapes are dynamic: it is compiled anew for one row or one token instead of several, with and
without gradient, for the first layer's gradient, and for no other lengths. Instructions are read uncompiled: each is
read once.

On a CPU it hardly helps: a rollout takes between 8 % less and 11 % more time than with `transformers` by itself, an
update 5 to 9 % less (Llamas of width 256 and 576, one thread), and both 11 to 47 % more than with `fused_backbone`,
which `policy.compile` replaces. On a GPU it was not measured.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from llarp.errors import UserError
from llarp.policy.layer_cache import Grown, LayerCache, OneLayer, Written

MOST_VARIANTS = 32
"""Beyond so many compilations of a layer it runs uncompiled; what this package asks for are about half as many."""


def compile_layers(model: Any) -> None:
    """Makes every layer of a model of `transformers` run compiled; UserError where nothing can be compiled."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    if not torch.cuda.is_available() and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError(
            "there is neither a C++ compiler nor a GPU", "policy.compile", "install g++, or set it to false"
        )
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"{type(model).__name__} has no layers to compile", "policy.compile", "set it to false")
    compiled: Any = torch.compile  # its stubs lack the last two
    run = compiled(_Run(), dynamic=True, recompile_limit=MOST_VARIANTS, isolate_recompiles=True)
    for number, layer in enumerate(layers):
        layer.forward = _CompiledForward(run, layer.forward, number)


class _Run:
    """A layer's own forward. An object of its own for every model, as torch keeps what it compiled by function."""

    def __call__(self, forward: Any, *inputs: Any, **options: Any) -> Any:
        return forward(*inputs, **options)


class _CompiledForward:
    """Hands a layer its part of the cache."""

    def __init__(self, run: Any, forward: Any, number: int) -> None:
        self.run, self.forward, self.number = run, forward, number

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """As the layer's own."""
        # Models name it differently: past_key_values, layer_past.
        caches = {name: value for name, value in options.items() if isinstance(value, LayerCache)}
        if not any(isinstance(cache, Grown | Written) for cache in caches.values()):
            return self.forward(*inputs, **options)
        parts: dict[str, OneLayer] = {name: cache.of(self.number) for name, cache in caches.items()}
        return self.run(self.forward, *inputs, **{**options, **parts})
