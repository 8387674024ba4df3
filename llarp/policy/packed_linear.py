"""A frozen linear map in the layout that the processor's matrix product wants, made once.

An ordinary product lays its weights out anew in every call, which for the few rows of a step costs as much as the
product itself: 32 rows of float32 reach 60 % of a large product's rate that way and 90 % this way (oneDNN, whose
operators torch's own compiler uses; without them, plain products give the same numbers). The gradient goes to the input
only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

_OPERATORS: Any = torch.ops.mkldnn


class PackedLinear:
    """y = x W^T + b on float32 of the CPU. Shapes: N rows, I inputs, O outputs."""

    def __init__(
        self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None, rows: int = 32, backward: bool = True
    ) -> None:
        """Args:
        weight_OI: float32; not kept where it can be packed.
        bias_O: float32 or None.
        rows: the usual N; any other is right too.
        backward: whether gradients will be asked for.
        """
        weight_OI = weight_OI.detach().contiguous()
        self.bias_O = None if bias_O is None else bias_O.detach().contiguous()
        self.is_packed = can_pack()
        self._forward_weight = _pack(weight_OI, rows) if self.is_packed else weight_OI
        self._backward_weight = _pack(weight_OI.T.contiguous(), rows) if self.is_packed and backward else weight_OI

    def __call__(self, x_NI: torch.Tensor) -> torch.Tensor:
        """[N, O] of [N, I]."""
        if torch.is_grad_enabled() and x_NI.requires_grad:
            result: torch.Tensor = _Product.apply(x_NI, self)
            return result
        return self.product(x_NI)

    def product(self, x_NI: torch.Tensor) -> torch.Tensor:
        """The same without gradient."""
        if not self.is_packed:
            return functional.linear(x_NI, self._forward_weight, self.bias_O)
        return _linear(x_NI, self._forward_weight, self.bias_O)

    def input_gradient(self, gradient_NO: torch.Tensor) -> torch.Tensor:
        """[N, I] of [N, O]."""
        if not self.is_packed:
            return gradient_NO @ self._backward_weight
        return _linear(gradient_NO, self._backward_weight, None)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        ctx.linear = linear
        return linear.product(x_NI)

    @staticmethod
    def backward(ctx: Any, gradient_NO: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.linear.input_gradient(gradient_NO), None


class PackableLinear(torch.nn.Linear):
    """A trained linear map that can be packed while it only answers: see `packed`."""

    packed: PackedLinear | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As its base."""
        if self.packed is None:
            return super().forward(input)
        return self.packed.product(input.flatten(0, -2)).unflatten(0, input.shape[:-1])


@contextmanager
def packed(module: torch.nn.Module) -> Iterator[None]:
    """Packs a module's maps for a while in which they do not learn; does nothing off the CPU or in mixed precision."""
    maps = [part for part in module.modules() if isinstance(part, PackableLinear) and _suits(part.weight)]
    try:
        for part in maps:
            part.packed = PackedLinear(part.weight, part.bias, backward=False)
        yield
    finally:
        for part in maps:
            part.packed = None


def _suits(weight: torch.Tensor) -> bool:
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return plain and can_pack() and not torch.is_autocast_enabled("cpu")


def can_pack() -> bool:
    """Whether torch has oneDNN's operators here."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(_OPERATORS, "_linear_pointwise")
        and hasattr(_OPERATORS, "_reorder_linear_weight")
    )


def _pack(weight: torch.Tensor, rows: int) -> torch.Tensor:
    return _OPERATORS._reorder_linear_weight(weight, rows)


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return _OPERATORS._linear_pointwise(x, weight, bias, "none", [], "")
