"""Checkpoints of a training: folders that appear whole or not at all, the last few kept.

    <root>/last                    name of the newest folder
    <root>/step_00000050/adapters.safetensors, optimizer.safetensors, state.json

state.json holds the step, the fingerprint of the training and the digest of the other files, so that a damaged
folder is recognised and the one before it is taken. Random numbers are drawn anew from (seed, step, rank) in every
step, so the step is all their state.
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from llarp.errors import UserError
from llarp.files import file_aside, folder_aside, sha256

_LOG = logging.getLogger(__name__)
_FILES = ("adapters.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, which its fingerprint tells from any other."""

    root: Path
    fingerprint: str
    keep: int

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Path:
        """Writes the state after `step` steps and drops what is beyond the last `keep`; UserError when it cannot."""
        folder = self.root / f"step_{step:08d}"
        with folder_aside(folder) as aside:
            save_file(_plain(model.state_dict()), aside / _FILES[0])
            save_file(_plain(flatten(optimizer, model)), aside / _FILES[1])
            state = {
                "step": step,
                "fingerprint": self.fingerprint,
                "sha256": {name: sha256(aside / name) for name in _FILES},
            }
            (aside / "state.json").write_text(json.dumps(state, indent=2) + "\n")
        with file_aside(self.root / "last") as aside:
            aside.write_text(folder.name + "\n")
        for old in self._folders()[self.keep :]:
            shutil.rmtree(old)
        return folder

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Loads the newest sound checkpoint of this training; returns its step, 0 when there is none."""
        for folder in self._folders():
            step = self._sound(folder)
            if step is not None:
                device = next(model.parameters()).device
                model.load_state_dict(load_file(folder / _FILES[0], device=str(device)))
                unflatten(load_file(folder / _FILES[1], device=str(device)), optimizer, model)
                return step
        return 0

    def clear(self, all_trainings: bool = False) -> None:
        """Removes the checkpoints that do not belong to this training, or all of them."""
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

    def _sound(self, folder: Path) -> int | None:
        """The step of a checkpoint of this training with all its files unharmed; else None, and the log says why."""
        try:
            state = json.loads((folder / "state.json").read_text())
            if state["fingerprint"] != self.fingerprint:
                _LOG.warning("%s belongs to a training with other parameters or data: not resumed", folder)
            elif any(sha256(folder / name) != state["sha256"][name] for name in _FILES):
                _LOG.warning("%s is damaged: the one before is taken", folder)
            else:
                return int(state["step"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s is damaged (%s): the one before is taken", folder, error)
        return None


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
        optimizer.state[parameters[name]][key] = tensor.cpu() if key == "step" else tensor


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
