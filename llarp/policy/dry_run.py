"""What a training would take, without any weights: everything is built on the meta device, which allocates nothing.

Counted exactly: parameters, weights, gradients, the optimiser's state and the cache of a rollout. Estimated from above:
* Activations: all that autograd keeps of one minibatch of whole episodes behind the longest instruction, counted as
  it goes through the model of `transformers` with plain attention. Fused layers and fused attention keep less.
* Operations: of matrices and attention, behind the longest instruction and in the middle of an episode.
Left out are the visual encoder, the simulator, and what a GPU's driver and its allocator take for themselves.

Shapes: N frames, P visual tokens of width D per frame, A actions; packed as in `packing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from llarp.config import Params
from llarp.policy.adapters import Adapters
from llarp.policy.flops import Flops
from llarp.policy.layer_cache import Grown
from llarp.policy.lora import Lora
from llarp.policy.memory import KeyValueCache
from llarp.policy.packing import mask_of
from llarp.policy.shapes import shape

_BITS = {"8bit": 8.0, "4bit": 4.5}
"""Of a quantised weight; in blocks of 64, 4 bits share a scale of 32."""


@dataclass(frozen=True)
class Task:
    """What the policy of a setting meets."""

    token_shape: tuple[int, int]
    """(P, D) of the features."""
    num_actions: int
    """A."""
    horizon: int
    """Most steps of an episode."""


@dataclass(frozen=True)
class DryRun:
    """Figures of one training."""

    backbone: str
    """In a few words."""
    frozen_parameters: int
    trained_parameters: dict[str, int]
    """By adapter."""
    memory: dict[str, float] = field(default_factory=dict)
    """Bytes in each process, where its backbone is."""
    host_memory: dict[str, float] = field(default_factory=dict)
    """Bytes in each process, in the machine's own memory."""
    operations: dict[str, float] = field(default_factory=dict)
    """Floating-point operations; a multiplication and an addition count as two."""

    @property
    def lines(self) -> list[str]:
        """A table."""
        trained = sum(self.trained_parameters.values())
        rows = [
            f"backbone      {self.backbone}", "",
            _row("frozen parameters", f"{self.frozen_parameters:,}"), _row("trained parameters", f"{trained:,}"),
            *(_row(f"  {name}", f"{count:,}") for name, count in self.trained_parameters.items()), "",
        ]  # fmt: skip
        for title, parts in (("memory of a process", self.memory), ("memory of the host", self.host_memory)):
            if parts:
                rows += [_row(title, _binary(sum(parts.values())))]
                rows += [*(_row(f"  {name}", _binary(count)) for name, count in parts.items()), ""]
        rows += ["operations"]
        rows += [_row(f"  {name}", _decimal(count)) for name, count in self.operations.items()]
        return rows


def dry_run(params: Params, task: Task) -> DryRun:
    """The figures; UserError when nothing says what shape the backbone has."""
    policy = params.policy
    model = shape(policy)
    frozen = list(model.parameters())
    matrices = [part for part in model.modules() if isinstance(part, nn.Linear)]
    lora = Lora(model, policy.lora_rank) if policy.lora_rank else None
    with torch.device("meta"):
        adapters = Adapters(
            task.token_shape, policy.hidden, model.config.hidden_size, task.num_actions, 1.0, policy.visual_tokens,
            policy.previous_action, policy.observation_hidden, lora.weights if lora else None,
        )  # fmt: skip
    config = model.config
    quantised = "" if policy.quantize == "none" else f", {policy.quantize}"
    words = f"{config.num_hidden_layers} layers, width {config.hidden_size}, {str(model.dtype)[6:]}{quantised}"
    return DryRun(
        backbone=f"{policy.backbone} ({words})",
        frozen_parameters=sum(weight.numel() for weight in frozen),
        trained_parameters={
            name: sum(weight.numel() for weight in part.parameters()) for name, part in adapters.named_children()
        },
        memory={
            "frozen weights": _frozen_bytes(frozen, matrices, policy.quantize),
            **_packed(params, model, matrices),
            **_trained(params, adapters),
            **_kept(params, task, model),
            "activations of a minibatch, at most": max(
                activations(model, adapters, policy.max_instruction_tokens, rows, frames)
                for rows, frames in _minibatches(params, task)
            ),
        },
        host_memory=_on_the_host(params, task),
        operations=_operations(params, task, Flops.of(model, adapters)),
    )


def activations(model: Any, adapters: Adapters, instruction: int, rows: int, frames: int) -> float:
    """Bytes that autograd keeps of some episodes side by side.

    Args:
        model: on the meta device.
        adapters: on the meta device.
        instruction: tokens of each instruction.
        rows: episodes.
        frames: of each.

    """
    heads = _key_value_heads(model.config)
    tokens, meta = frames * adapters.tokens_per_frame, torch.device("meta")
    dim, visual = adapters.observation.mean_D.shape[0], _visual_tokens(adapters)

    def run() -> list[torch.Tensor]:
        features_NPD = torch.empty(rows * frames, visual, dim, device=meta)
        tokens_NSW = adapters.tokens(features_NPD, torch.zeros(rows * frames, dtype=torch.int64, device=meta))
        before = torch.empty(heads[0], 2, rows, heads[1], instruction, heads[2], dtype=model.dtype, device=meta)
        seen_RCK = torch.ones(rows, tokens, instruction + tokens, dtype=torch.bool, device=meta)
        hidden_RCW = model(
            inputs_embeds=tokens_NSW.reshape(rows, tokens, -1).to(model.dtype),
            attention_mask=mask_of(seen_RCK, model.dtype)[:, None],
            position_ids=torch.arange(tokens, device=meta).expand(rows, -1),
            past_key_values=Grown(before),
            use_cache=True,
        ).last_hidden_state.float()
        return list(
            adapters.action(hidden_RCW.flatten(0, 1)[adapters.tokens_per_frame - 1 :: adapters.tokens_per_frame])
        )

    return kept_bytes(run, [*model.parameters(), *adapters.parameters()])


def kept_bytes(run: Callable[[], Any], weights: list[nn.Parameter]) -> float:
    """Bytes that autograd keeps for the backward pass of `run`, apart from `weights`."""
    known = {weight.untyped_storage()._cdata for weight in weights}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return tensor  # held by the graph: until all is counted, no address is used twice

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = run()
    del result
    return float(sum(kept.values()))


def _frozen_bytes(frozen: list[nn.Parameter], matrices: list[nn.Linear], quantize: str) -> float:
    total = float(sum(weight.nbytes for weight in frozen))
    if quantize != "none":
        total += sum(matrix.weight.numel() * _BITS[quantize] / 8 - matrix.weight.nbytes for matrix in matrices)
    return total


def _packed(params: Params, model: Any, matrices: list[nn.Linear]) -> dict[str, float]:
    """What `fused` makes of the weights where it is used: each matrix for both directions."""
    policy = params.policy
    is_plain = policy.quantize == "none" and policy.lora_rank == 0 and not policy.compile
    if torch.cuda.is_available() or model.dtype != torch.float32 or not is_plain:
        return {}
    return {"the same, packed for the CPU": float(2 * sum(matrix.weight.nbytes for matrix in matrices))}


def _trained(params: Params, adapters: Adapters) -> dict[str, float]:
    weights = float(sum(weight.nbytes for weight in adapters.parameters()))
    message = weights if params.train.processes > 1 else 0.0
    return {
        "adapters": weights,
        "gradients" + (" and the message that sums them" if message else ""): weights + message,
        "state of the optimiser": 2 * weights,
    }


def _kept(params: Params, task: Task, model: Any) -> dict[str, float]:
    """Keys and values."""
    limit = {"read instructions, at most": params.train.prefix_cache_gib * 2**30}
    if not _plays(params):
        return limit
    policy, (layers, heads, width) = params.policy, _key_value_heads(model.config)
    tokens = policy.max_instruction_tokens + (task.horizon + 1) * policy.tokens_per_frame
    like = torch.empty(0, dtype=model.dtype, device="meta")
    cache = KeyValueCache((layers, heads, width), params.ppo.num_envs, tokens, like).num_bytes
    return {"keys and values of the rollout": cache, "those that an update begins with, at most": cache, **limit}


def _on_the_host(params: Params, task: Task) -> dict[str, float]:
    if not _plays(params):
        return {}
    ppo, (visual, dim) = params.ppo, task.token_shape
    frame = 2 * visual * dim  # float16
    columns = 3 * 8 + 3 * 4 + 2 + 2 * 8  # of a rollout, and what advantages are computed in
    return {
        "rollout": ppo.num_envs * ppo.rollout_steps * (frame + columns),
        "frames of episodes under way, at most": ppo.num_envs * task.horizon * frame,
    }


def _minibatches(params: Params, task: Task) -> list[tuple[int, int]]:
    """(episodes, frames of each) of a minibatch of one process, for each phase of the training."""
    found = []
    if "bc" in params.train.algorithm:
        found.append((math.ceil(params.train.batch_size / params.train.processes), task.horizon))
    if "ppo" in params.train.algorithm:
        ppo = params.ppo
        frames = math.ceil(ppo.num_envs * ppo.rollout_steps / ppo.minibatches)
        length = min(task.horizon, ppo.rollout_steps, frames)
        found.append((math.ceil(frames / length), length))
    return found


def _operations(params: Params, task: Task, flops: Flops) -> dict[str, float]:
    instruction = params.policy.max_instruction_tokens
    seen = instruction + params.policy.tokens_per_frame * (task.horizon + 1) / 2
    step, learnt, read = flops.forward(seen), flops.training(seen), flops.reading(instruction)
    found = {f"an instruction of {instruction} tokens, read once": read}
    if "bc" in params.train.algorithm:
        frames = params.train.epochs * params.episodes.train * task.horizon
        found["a frame of cloning"] = learnt
        found[f"all of cloning, at most {frames:,.0f} frames"] = frames * learnt
    if _plays(params):
        found["an environment step of the rollout"] = step
    if "ppo" in params.train.algorithm:
        steps = params.ppo.total_steps
        found[f"an environment step of the update, {params.ppo.epochs} epochs"] = params.ppo.epochs * learnt
        found[f"all {steps:,} steps"] = steps * (step + params.ppo.epochs * learnt)
        found["instructions, a new one after every horizon"] = steps / task.horizon * read
    return found


def _plays(params: Params) -> bool:
    return "ppo" in params.train.algorithm or params.train.dagger_rounds > 0


def _key_value_heads(config: Any) -> tuple[int, int, int]:
    """(layers, heads of keys and values, their width)."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, width


def _visual_tokens(adapters: Adapters) -> int:
    observation = adapters.observation
    if observation.resampler is not None:
        return len(observation.resampler.position_PH)
    return observation.patches.edge**2 if observation.patches is not None else 1


def _row(name: str, figure: str) -> str:
    return f"{name:<52}{figure:>20}"


def _binary(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.2f} GiB"


def _decimal(count: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if count < 1000:
            return f"{count:,.1f} {unit}FLOP"
        count /= 1000
    return f"{count:,.1f} EFLOP"
