"""Llama-like decoders and BERT on the CPU in float32, computed by few large operations instead of many small ones.

The same numbers as the model of `transformers`, three times as fast, because the weights are frozen:
* they are packed once (`packed_linear`), and maps of one input are joined: queries, keys and values; gate and up;
* what stands before a map is multiplied into it: the weights of RMSNorm, the scale of the scores;
* pairs of rotated numbers stand side by side, so that a rotation is a product of complex numbers.
Scores do not change when queries and keys are reordered alike, but keys in a cache are in this module's order.

Shapes: N tokens of any number of episodes, Q query heads, H heads of keys and values, D width of a head, W width of the
model, F width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from llarp.policy.packed_linear import PackedLinear

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Number of a layer, queries [N, Q, D] scaled already, keys and values [N, H, D] of new tokens -> [N, Q * D]."""


@dataclass(frozen=True)
class Heads:
    """How a projection is cut."""

    queries: int
    pairs: int
    width: int


class FusedModel:
    """All layers; `run` is the whole forward."""

    heads: Heads
    num_layers: int

    def words(self, ids_N: torch.Tensor) -> torch.Tensor:
        """[N, W] embeddings of token ids."""
        raise NotImplementedError

    def run(self, embeds_NW: torch.Tensor, position_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """[N, W] hidden states of tokens at positions."""
        raise NotImplementedError


class FusedLlama(FusedModel):
    """Llama, Mistral, Qwen2: RMSNorm before, rotations, gated feed-forward."""

    def __init__(self, model: Any) -> None:
        """Args:
        model: `LlamaModel` or one of its family, float32, on the CPU.
        """
        config = model.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, width)
        self.eps = config.rms_norm_eps
        self._words, self._norm_W = model.embed_tokens, model.norm.weight.detach()
        self._layers = [_LlamaLayer(layer, self.heads) for layer in model.layers]
        self.num_layers = len(self._layers)
        # A long enough table; longer sequences than positions were refused when the model was loaded.
        position_P = torch.arange(min(config.max_position_embeddings, 8192))
        cos_PD, sin_PD = model.rotary_emb(torch.zeros(1), position_P[None])
        self._turn_PD = torch.complex(cos_PD[0, :, : width // 2].float(), sin_PD[0, :, : width // 2].float())

    def words(self, ids_N: torch.Tensor) -> torch.Tensor:
        """See `FusedModel.words`."""
        return self._words(ids_N)

    def run(self, embeds_NW: torch.Tensor, position_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """See `FusedModel.run`."""
        turn_N1D, hidden_NW = self._turn_PD[position_N][:, None], embeds_NW
        for number, layer in enumerate(self._layers):
            parts = layer.project(_rms_norm(hidden_NW, self.eps)).unflatten(1, (-1, self.heads.width))
            turned = self.heads.queries + self.heads.pairs
            both = _rotate(parts[:, :turned], turn_N1D)
            found = attend(number, both[:, : self.heads.queries], both[:, self.heads.queries :], parts[:, turned:])
            hidden_NW = hidden_NW + layer.out(found)
            hidden_NW = hidden_NW + layer.down(_gated(layer.up(_rms_norm(hidden_NW, self.eps))))
        return _rms_norm(hidden_NW, self.eps) * self._norm_W


class _LlamaLayer:
    def __init__(self, layer: Any, heads: Heads) -> None:
        attention, mlp, width = layer.self_attn, layer.mlp, heads.width
        order_D = torch.arange(width).view(2, -1).T.flatten()  # 0, D/2, 1, D/2 + 1, ...
        query, key = (_reordered(projection, order_D) for projection in (attention.q_proj, attention.k_proj))
        scaled = [None if tensor is None else tensor * width**-0.5 for tensor in query]
        value = attention.v_proj.weight, attention.v_proj.bias
        self.project = _joined([scaled, key, value], layer.input_layernorm.weight)
        self.out = PackedLinear(attention.o_proj.weight, attention.o_proj.bias)
        gate_up = [(linear.weight, linear.bias) for linear in (mlp.gate_proj, mlp.up_proj)]
        self.up = _joined(gate_up, layer.post_attention_layernorm.weight)
        self.down = PackedLinear(mlp.down_proj.weight, mlp.down_proj.bias)


class FusedBert(FusedModel):
    """BERT: learnt positions, LayerNorm after."""

    def __init__(self, model: Any) -> None:
        """Args:
        model: `BertModel`, float32, on the CPU.
        """
        config = model.config
        self.heads = Heads(
            config.num_attention_heads, config.num_attention_heads, config.hidden_size // config.num_attention_heads
        )
        self.embeddings = model.embeddings
        self._layers = [_BertLayer(layer, self.heads.width) for layer in model.encoder.layer]
        self.num_layers = len(self._layers)

    def words(self, ids_N: torch.Tensor) -> torch.Tensor:
        """See `FusedModel.words`."""
        return self.embeddings.word_embeddings(ids_N)

    def run(self, embeds_NW: torch.Tensor, position_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """See `FusedModel.run`."""
        place_NW = self.embeddings.position_embeddings(position_N) + self.embeddings.token_type_embeddings.weight[0]
        hidden_NW = self.embeddings.LayerNorm(embeds_NW + place_NW)
        for number, layer in enumerate(self._layers):
            parts = layer.project(hidden_NW).unflatten(1, (3, self.heads.queries, self.heads.width))
            hidden_NW = layer.norm_1(hidden_NW + layer.out(attend(number, *parts.unbind(1))))
            hidden_NW = layer.norm_2(hidden_NW + layer.down(functional.gelu(layer.up(hidden_NW))))
        return hidden_NW


class _BertLayer:
    def __init__(self, layer: Any, width: int) -> None:
        attention, output = layer.attention.self, layer.attention.output
        query = attention.query.weight * width**-0.5, attention.query.bias * width**-0.5
        rest = [(linear.weight, linear.bias) for linear in (attention.key, attention.value)]
        self.project = _joined([query, *rest])
        self.out, self.norm_1 = PackedLinear(output.dense.weight, output.dense.bias), output.LayerNorm
        self.up = PackedLinear(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        self.down = PackedLinear(layer.output.dense.weight, layer.output.dense.bias)
        self.norm_2 = layer.output.LayerNorm


def fuse(model: Any) -> FusedModel | None:
    """The model's layers, fused; None where it is of another family, or not float32 on the CPU."""
    if model.dtype != torch.float32 or model.device.type != "cpu":
        return None
    from transformers import BertModel, LlamaModel, MistralModel, Qwen2Model

    config = model.config
    if type(model) in (LlamaModel, MistralModel, Qwen2Model) and config.hidden_act == "silu":
        static = config.rope_parameters.get("rope_type", "default") in ("default", "linear", "llama3")
        return FusedLlama(model) if static else None
    if type(model) is BertModel and config.is_decoder and config.hidden_act == "gelu":
        return FusedBert(model)
    return None


Part = tuple[torch.Tensor, torch.Tensor | None]
"""Weight [O, I] and bias [O] of a linear map."""


def _joined(parts: list[Any], scale_I: torch.Tensor | None = None) -> PackedLinear:
    """One map for several of the same input, which is first multiplied by `scale`."""
    weight_OI = torch.cat([weight.detach() for weight, _ in parts])
    biases = [None if bias is None else bias.detach() for _, bias in parts]
    bias_O = None
    if any(bias is not None for bias in biases):
        zeros = (torch.zeros(len(weight)) for weight, _ in parts)
        bias_O = torch.cat([zero if bias is None else bias for bias, zero in zip(biases, zeros, strict=True)])
    return PackedLinear(weight_OI if scale_I is None else weight_OI * scale_I.detach(), bias_O)


def _reordered(linear: torch.nn.Linear, order_D: torch.Tensor) -> Part:
    """A projection with the outputs of each head in another order."""
    weight = linear.weight.detach().unflatten(0, (-1, len(order_D)))[:, order_D].flatten(0, 1)
    if linear.bias is None:
        return weight, None
    return weight, linear.bias.detach().unflatten(0, (-1, len(order_D)))[:, order_D].flatten()


def _rotate(x_NHD: torch.Tensor, turn_N1D: torch.Tensor) -> torch.Tensor:
    """Rotary positions: pairs of numbers as complex ones, times e^(i position frequency)."""
    return torch.view_as_real(torch.view_as_complex(x_NHD.unflatten(2, (-1, 2))) * turn_N1D).flatten(2)


def _rms_norm(x_NW: torch.Tensor, eps: float) -> torch.Tensor:
    if not (torch.is_grad_enabled() and x_NW.requires_grad):
        return functional.rms_norm(x_NW, x_NW.shape[1:], None, eps)
    result: torch.Tensor = _RMSNorm.apply(x_NW, eps)
    return result


class _RMSNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps); the weights are multiplied into what follows."""

    @staticmethod
    def forward(ctx: Any, x_NW: torch.Tensor, eps: float) -> torch.Tensor:
        scale_N1 = torch.linalg.vector_norm(x_NW, dim=1, keepdim=True).square_().div_(x_NW.shape[1]).add_(eps).rsqrt_()
        y_NW = x_NW * scale_N1
        ctx.save_for_backward(y_NW, scale_N1)
        return y_NW

    @staticmethod
    def backward(ctx: Any, gradient_NW: torch.Tensor) -> tuple[torch.Tensor, None]:
        y_NW, scale_N1 = ctx.saved_tensors
        along_N1 = torch.linalg.vecdot(gradient_NW, y_NW).div_(y_NW.shape[1])[:, None]
        return torch.addcmul(gradient_NW, y_NW, along_N1, value=-1).mul_(scale_N1), None


def _gated(gate_up_NF: torch.Tensor) -> torch.Tensor:
    if not (torch.is_grad_enabled() and gate_up_NF.requires_grad):
        gate_NF, up_NF = gate_up_NF.chunk(2, 1)
        return functional.silu(gate_NF).mul_(up_NF)
    result: torch.Tensor = _Gated.apply(gate_up_NF)
    return result


class _Gated(torch.autograd.Function):
    """silu(gate) * up, of both side by side."""

    @staticmethod
    def forward(ctx: Any, gate_up_N2F: torch.Tensor) -> torch.Tensor:
        gate_NF, up_NF = gate_up_N2F.chunk(2, 1)
        open_NF = functional.silu(gate_NF)
        ctx.save_for_backward(gate_up_N2F, open_NF)
        return open_NF * up_NF

    @staticmethod
    def backward(ctx: Any, gradient_NF: torch.Tensor) -> torch.Tensor:
        gate_up_N2F, open_NF = ctx.saved_tensors
        gate_NF, up_NF = gate_up_N2F.chunk(2, 1)
        result_N2F = torch.empty_like(gate_up_N2F)
        gate_gradient_NF, up_gradient_NF = result_N2F.chunk(2, 1)
        torch.mul(gradient_NF, open_NF, out=up_gradient_NF)
        gate_gradient_NF.copy_(torch.ops.aten.silu_backward(gradient_NF * up_NF, gate_NF))
        return result_N2F
