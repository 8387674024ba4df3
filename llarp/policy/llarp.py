"""LLaRP: a frozen language model between an observation adapter and an action adapter (arXiv 2310.17722, section 3).

Sequence: the instruction's tokens, then those of one frame after the other, usually one; the hidden state at a frame's
last token gives that step's action and value. Shapes: B episodes, N frames of all of them, P x D visual tokens of a
frame, S tokens that it becomes, K rows of a cache, A actions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from llarp.config import PolicyConfig
from llarp.errors import UserError
from llarp.files import folder_aside
from llarp.policy.adapters import Adapters
from llarp.policy.backbone import Backbone, Prefixes
from llarp.policy.backbones import load_backbone
from llarp.policy.base import Policy, Task
from llarp.policy.baselines import episode_rng
from llarp.policy.memory import KeyValueCache, Memory
from llarp.tasks.episode import HORIZON
from llarp.tasks.skills import NAMES

FORMAT = 3
"""Version of the saved folder."""


@dataclass(frozen=True)
class Trajectories:
    """B episodes or parts of them: frames of the first, then of the second, ..."""

    instructions: Sequence[str]
    lengths: Sequence[int]
    """Frames of each, at least 1; their sum is N."""
    features_NPD: np.ndarray
    """float16 or float32 [N, P, D]."""
    previous_N: np.ndarray
    """int64[N] action before each frame; A before an episode's first."""
    memories: Sequence[Memory | None] | None = None
    """What each episode had read before its first frame here; None: its instruction."""


def previous_actions(actions: Sequence[Sequence[int]], num_actions: int) -> np.ndarray:
    """int64[N] action before each frame of whole episodes, given those of every episode."""
    return np.array([before for episode in actions for before in [num_actions, *episode[:-1]]], np.int64)


@dataclass
class State:
    """B episodes that were started together. Changed by every step."""

    cache: KeyValueCache
    rngs: list[np.random.Generator] | None
    """One per episode when actions are sampled."""
    previous_B: np.ndarray
    """int64[B] last actions."""
    ended_B: np.ndarray
    """bool[B]: nothing more is computed for them."""


class LLaRPPolicy(Policy):
    """Adapters on a frozen backbone."""

    def __init__(
        self,
        backbone: Backbone,
        config: PolicyConfig,
        token_shape: tuple[int, int],
        sampling_seed: int | None = None,
        prefix_bytes: int = 0,
        actions: Sequence[str] = NAMES,
    ) -> None:
        """Args:
        backbone: as `config` names it. With LoRA it is this policy's alone: another on it would share the weights.
        config: shape of the policy.
        token_shape: (P, D) of the features.
        sampling_seed: None takes the most probable action; a seed samples, the same whatever shares the batch.
        prefix_bytes: memory in which read instructions are kept for later batches.
        actions: names of the actions, those of Language Rearrangement unless told.
        """
        self.backbone, self.config, self.token_shape = backbone, config, token_shape
        self.sampling_seed = sampling_seed
        self.actions = tuple(actions)
        self.prefixes = Prefixes(backbone, prefix_bytes)
        assert (backbone.lora_weights is None) == (config.lora_rank == 0), "a backbone loaded for another policy"
        self.adapters = Adapters(
            token_shape, config.hidden, backbone.width, len(self.actions), backbone.embedding_rms,
            config.visual_tokens, config.previous_action, config.observation_hidden, backbone.lora_weights,
        )  # fmt: skip

    def to(self, device: torch.device | str) -> LLaRPPolicy:
        """Moves backbone and adapters."""
        self.backbone.to(device)
        self.adapters.to(device)
        return self

    @property
    def tokens_per_frame(self) -> int:
        """S."""
        return self.adapters.tokens_per_frame

    def cache(self, rows: int, frames: int = HORIZON) -> KeyValueCache:
        """An empty cache for that many episodes of at most so many frames."""
        return self.backbone.cache(rows, frames * self.tokens_per_frame)

    def start(self, tasks: Sequence[Task]) -> State:
        """Reads the instructions; UserError when one is longer than the limit."""
        rngs = None
        if self.sampling_seed is not None:
            rngs = [episode_rng(self.sampling_seed, task) for task in tasks]
        memories = self.prefixes([task.instruction for task in tasks])
        cache = self.cache(len(tasks))
        for row, memory in enumerate(memories):
            cache.put(row, memory)
        return State(cache, rngs, np.full(len(tasks), len(self.actions)), np.zeros(len(tasks), bool))

    def act(self, features_BPD: np.ndarray | None, state: State, running_B: np.ndarray) -> tuple[np.ndarray, State]:
        """One action per episode; 0 for those that have ended, which must never be said to run again."""
        if features_BPD is None:
            raise ValueError("LLaRP needs the features of the images")
        state.ended_B |= ~running_B
        rows_K = np.flatnonzero(~state.ended_B)
        actions_B = np.zeros(len(running_B), np.int64)
        if len(rows_K):
            logits_KA, _ = self.step(features_BPD[rows_K], state.previous_B[rows_K], state.cache, rows_K)
            rngs = None if state.rngs is None else [state.rngs[row] for row in rows_K]
            actions_B[rows_K] = state.previous_B[rows_K] = _choose(logits_KA, rngs)
        return actions_B, state

    def step(
        self, features_KPD: np.ndarray, previous_K: np.ndarray, cache: KeyValueCache, rows_K: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads one more frame in each of some rows of a cache: (logits float32[K, A], values float32[K]) there."""
        return self.read(features_KPD, previous_K, [1] * len(rows_K), cache, rows_K)

    @torch.no_grad()
    def read(
        self,
        features_NPD: np.ndarray,
        previous_N: np.ndarray,
        lengths: Sequence[int],
        cache: KeyValueCache,
        rows_K: np.ndarray,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads frames in some rows of a cache, in place.

        Args:
            features_NPD: float16 or float32; frames of the first row, then of the second, ...
            previous_N: int64, actions before them; A for none.
            lengths: frames of each of the K rows.
            cache: rows were begun with what `prefixes` gives.
            rows_K: int64, distinct.

        Returns:
            (logits float32[N, A], values float32[N]).

        """
        self._check(features_NPD.shape[1:])
        tokens_NSW = self.adapters.tokens(self._tensor(features_NPD), self._tensor(previous_N))
        tokens = tokens_NSW.shape[1]
        hidden_MW = self.backbone.read(tokens_NSW.flatten(0, 1), [length * tokens for length in lengths], cache, rows_K)
        logits_NA, values_N = self.adapters.action(hidden_MW[tokens - 1 :: tokens])
        return logits_NA, values_N

    def evaluate(self, trajectories: Trajectories, critic_only: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits [N, A], values [N]) with gradients to the adapters; equals stepping through the frames.

        Args:
            trajectories: what was seen and done.
            critic_only: see `ActionAdapter`.

        """
        self._check(trajectories.features_NPD.shape[1:])
        tokens_NSW = self.adapters.tokens(
            self._tensor(trajectories.features_NPD), self._tensor(trajectories.previous_N)
        )
        tokens = tokens_NSW.shape[1]
        memories = self._memories(trajectories)
        hidden_MW = self.backbone.sequence(
            tokens_NSW.flatten(0, 1), [length * tokens for length in trajectories.lengths], memories
        )
        logits_NA, values_N = self.adapters.action(hidden_MW[tokens - 1 :: tokens], critic_only)
        return logits_NA, values_N

    def _memories(self, trajectories: Trajectories) -> list[Memory]:
        given = trajectories.memories or [None] * len(trajectories.instructions)
        new = [text for text, memory in zip(trajectories.instructions, given, strict=True) if memory is None]
        read = iter(self.prefixes(new))
        return [next(read) if memory is None else memory for memory in given]

    def save(self, folder: Path) -> None:
        """Writes adapters.safetensors and policy.json, whole or not at all; the backbone is never saved."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.adapters.state_dict().items()}
        meta = {
            "format": FORMAT,
            "policy": self.config.model_dump(),
            "backbone": asdict(self.backbone.identity),
            "token_shape": list(self.token_shape),
            "actions": list(self.actions),
        }
        with folder_aside(folder) as aside:
            # Not `save_file`: its files can be read by their owner alone.
            (aside / "adapters.safetensors").write_bytes(serialize(tensors))
            (aside / "policy.json").write_text(json.dumps(meta, indent=2) + "\n")

    @classmethod
    def load(
        cls,
        folder: Path,
        backbone: Backbone | None = None,
        sampling_seed: int | None = None,
        actions: Sequence[str] | None = None,
    ) -> LLaRPPolicy:
        """Reads a saved policy.

        Args:
            folder: written by `save`.
            backbone: None loads the one that policy.json names.
            sampling_seed: as in the constructor.
            actions: names of those that it is to choose from; None takes it as it was trained.

        Raises:
            UserError: a file is missing or damaged, the backbone has other weights than the trained one, or the
                policy was trained for other actions.

        """
        meta = _read_meta(folder / "policy.json")
        backbone = backbone or load_backbone(meta["policy"])
        if backbone.identity.sha256 != meta["backbone"]["sha256"]:
            raise UserError(
                f"adapters were trained on weights {meta['backbone']['sha256']} of {meta['backbone']['name']}, "
                f"but this backbone has {backbone.identity.sha256}",
                folder / "policy.json",
                "use the backbone it was trained on, or train anew",
            )
        if actions is not None and tuple(actions) != tuple(meta["actions"]):
            raise UserError(
                f"trained for {_differences(meta['actions'], actions)}",
                folder / "policy.json",
                "evaluate it where it was trained, or train anew",
            )
        policy = cls(backbone, meta["policy"], meta["token_shape"], sampling_seed, actions=meta["actions"])
        policy.load_adapters(folder / "adapters.safetensors")
        return policy

    def load_adapters(self, path: Path) -> None:
        """Takes over saved adapters; UserError when the file is missing, damaged or of another shape."""
        try:
            self.adapters.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"no adapters of this policy: {error}", path, "train anew or restore the file") from error

    def _check(self, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self.token_shape:
            raise UserError(
                f"features of shape {tuple(shape)}, but the adapters were made for {self.token_shape}",
                "policy",
                "use the encoder that the policy was trained with, or train anew",
            )

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.adapters.observation.mean_D.device)


def _choose(logits_BA: torch.Tensor, rngs: list[np.random.Generator] | None) -> np.ndarray:
    """int64[B]: the most probable action, or one drawn by each episode's own generator."""
    if rngs is None:
        return logits_BA.argmax(1).cpu().numpy()
    cumulative_BA = logits_BA.double().softmax(1).cumsum(1).cpu().numpy()
    draws = zip(cumulative_BA, rngs, strict=True)
    return np.array([np.searchsorted(row_A, rng.random() * row_A[-1], side="right") for row_A, rng in draws], np.int64)


def _differences(trained: Sequence[str], wanted: Sequence[str]) -> str:
    """Says in a few words how two lists of actions differ."""
    lacking, more = sorted(set(wanted) - set(trained)), sorted(set(trained) - set(wanted))
    if not lacking and not more:
        return "the same actions in another order"
    parts = [
        f"{sign} {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for sign, names in (("without", lacking), ("with", more))
        if names
    ]
    return f"other actions: {'; '.join(parts)}"


def _read_meta(path: Path) -> dict[str, Any]:
    """policy.json with `policy` and `token_shape` typed."""
    try:
        meta = json.loads(path.read_text())
        if meta["format"] != FORMAT:
            raise UserError(f"format {meta['format']}, not {FORMAT}", path, "train anew with this version")
        if not all(isinstance(name, str) for name in meta["actions"]):
            raise ValueError("actions are no names")
        tokens, dim = meta["token_shape"]
        str(meta["backbone"]["name"]), str(meta["backbone"]["sha256"])
        return meta | {"policy": PolicyConfig.model_validate(meta["policy"]), "token_shape": (int(tokens), int(dim))}
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", path, "give a folder that training has written"
        ) from error
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"no saved policy: {error!r}", path, "train anew or restore the file") from error
