"""LoRA: small trained matrices beside some of a frozen model's own (arXiv 2106.09685), made by `peft`.

Deviations from the released LLaRP, which has it as an option:
* It is active only while frames are read. Instructions are read by the model as it is, so that what was read of them
  is right for ever, and is read once instead of anew after every update.
* No dropout: rollout and update must compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llarp.errors import UserError

SCALE = 4
"""What the product of the two matrices is multiplied by, as in the release."""


class Lora:
    """Puts its matrices into a model; they begin as a product of zero."""

    def __init__(self, model: Any, rank: int) -> None:
        """Args:
        model: of `transformers`, frozen; its projections are replaced where the paper of its family does.
        rank: of the matrices.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
            from peft.tuners.lora import LoraLayer
        except ImportError as error:
            raise UserError(
                f"package not installed ({error.name})", "policy.lora_rank", "pip install 'llarp[lora]', or set it to 0"
            ) from error
        try:
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=SCALE * rank), model)
        except ValueError as error:
            raise UserError(
                f"peft knows no place for LoRA in {type(model).__name__}: {error}", "policy.lora_rank", "set it to 0"
            ) from error
        self._layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        self.weights = torch.nn.ParameterDict()
        """float32, by the names of the projections; the model and this hold the same ones."""
        for name, layer in self._layers.items():
            for part, maps in (("A", layer.lora_A), ("B", layer.lora_B)):
                linear = maps["default"].float()
                self.weights[f"{name.replace('.', '/')}/{part}"] = linear.weight

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, the model is the frozen one."""
        self._switch(False)
        try:
            yield
        finally:
            self._switch(True)

    def _switch(self, is_on: bool) -> None:
        for layer in self._layers.values():
            layer.enable_adapters(is_on)
