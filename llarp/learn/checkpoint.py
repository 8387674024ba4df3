"""Checkpoints of a training: folders that appear whole or not at all, the last few kept.

    <root>/last                    name of the newest folder
    <root>/step_00000050/adapters.safetensors, optimizer.safetensors, state.json

state.json holds the number of updates, the state of every rank, the fingerprint of the training and the digest of the
other files, so that a damaged folder is recognised and the one before it is taken. Random numbers are drawn anew from
(seed, update, rank) in every update, so the update is all their state.
"""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from llarp.errors import UserError
from llarp.files import file_aside, folder_aside, sha256

_LOG = logging.getLogger(__name__)
_FILES = ("adapters.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds."""

    step: int
    """Updates done."""
    ranks: list[Any]
    """JSON of each rank's state, in their order."""
    files: dict[str, bytes]
    """Contents by name."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, which its fingerprint tells from any other."""

    root: Path
    fingerprint: str
    keep: int

    def save(self, saved: Saved) -> Path:
        """Writes a checkpoint and drops what is beyond the last `keep`; UserError when it cannot."""
        folder = self.root / f"step_{saved.step:08d}"
        try:
            self._write(folder, saved)
        except OSError as error:
            raise UserError(
                f"cannot write a checkpoint ({error.strerror})", folder, "make room; those before it are kept"
            ) from error
        for old in self._folders()[self.keep :]:
            shutil.rmtree(old)
        return folder

    def _write(self, folder: Path, saved: Saved) -> None:
        with folder_aside(folder) as aside:
            for name, content in saved.files.items():
                (aside / name).write_bytes(content)
            state = {
                "step": saved.step,
                "ranks": saved.ranks,
                "fingerprint": self.fingerprint,
                "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in saved.files.items()},
            }
            (aside / "state.json").write_text(json.dumps(state, indent=2) + "\n")
        with file_aside(self.root / "last") as aside:
            aside.write_text(folder.name + "\n")

    def newest(self) -> Saved | None:
        """The newest sound checkpoint of this training."""
        for folder in self._folders():
            state = self._sound(folder)
            if state is not None:
                files = {name: (folder / name).read_bytes() for name in _FILES}
                return Saved(int(state["step"]), state["ranks"], files)
        return None

    def clear(self, all_trainings: bool = False) -> None:
        """Removes the checkpoints that do not belong to this training, or all of them, and those left half done."""
        for half_done in (*self.root.glob(".step_*"), *self.root.glob(".last.*")):
            shutil.rmtree(half_done)
        for folder in self._folders():
            if all_trainings or self._sound(folder) is None:
                shutil.rmtree(folder)
        if not self._folders():
            (self.root / "last").unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        """Newest first: the one that `last` names, then by step."""
        try:
            last = (self.root / "last").read_text().strip()
        except OSError:
            last = ""
        return sorted(self.root.glob("step_*"), key=lambda folder: (folder.name == last, folder.name), reverse=True)

    def _sound(self, folder: Path) -> dict[str, Any] | None:
        """The state of a checkpoint of this training with all its files unharmed; else None, and the log says why."""
        try:
            state = json.loads((folder / "state.json").read_text())
            if state["fingerprint"] != self.fingerprint:
                _LOG.warning("%s belongs to a training with other parameters or data: not resumed", folder)
            elif any(sha256(folder / name) != state["sha256"][name] for name in _FILES):
                _LOG.warning("%s is damaged: the one before is taken", folder)
            else:
                int(state["step"]), list(state["ranks"])
                return state
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s is damaged (%s): the one before is taken", folder, error)
        return None


def snapshot(step: int, ranks: list[Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Saved:
    """What a checkpoint holds after `step` updates."""
    tensors = (model.state_dict(), flatten(optimizer, model))
    return Saved(step, ranks, {name: to_bytes(part) for name, part in zip(_FILES, tensors, strict=True)})


def load_snapshot(saved: Saved, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Gives model and optimiser the state that `snapshot` took."""
    device = next(model.parameters()).device
    model.load_state_dict(from_bytes(saved.files[_FILES[0]]))
    tensors = from_bytes(saved.files[_FILES[1]])
    unflatten({name: tensor.to(device) for name, tensor in tensors.items()}, optimizer, model)


def check_writable(folder: Path) -> None:
    """Creates a folder and writes into it before hours of work depend on it; UserError when that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe-{os.getpid()}"  # several ranks try at once
        with file_aside(probe) as aside:
            aside.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write here ({error.strerror})", folder, "choose another folder or mend its permissions"
        ) from error


def flatten(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The optimiser's state as `<parameter>/<name>` -> tensor."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def unflatten(tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> None:
    """Gives the optimiser the state that `flatten` made."""
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        optimizer.state[parameter] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        optimizer.state[parameters[name]][key] = tensor


def to_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """Tensors as a file of safetensors."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(data: bytes) -> dict[str, torch.Tensor]:
    """Tensors that `to_bytes` was given, on the CPU."""
    return load(data)
