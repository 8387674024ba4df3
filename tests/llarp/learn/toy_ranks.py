"""Trainings of several ranks in a world with many wordings, where things happen to the ranks on the way.

`training(OUT, OPTIONS)` is for `forked`; as a module, `python -m toy_ranks OUT OPTIONS` is for `accelerate launch`.
OPTIONS is JSON; its keys:

* params: changes of the toy training's parameters, by section;
* data: seed of the demonstrations;
* second: other OPTIONS for the second rank;
* fates: what happens, each to one `rank`: `what` happens after `steps` of its rollouts, or after `optimiser_steps`, or
  always, counted from the start of the process.
"""

import hashlib
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from forked import run, variables
from torch.optim.optimizer import register_optimizer_step_post_hook
from toy_training import NAMES, PARAMS, SHAPE, changed, data
from toy_world import ASKED, ToyEncoder, ToyEnvironment, ToyEpisode, ToyTally, ToyWorld

from llarp.environments.vector import SingleWorlds
from llarp.launch import launch_command
from llarp.learn.demonstrations import Demonstrations
from llarp.learn.train import Playground, Shown, train
from llarp.policy.backbones import load_backbone
from llarp.vision.memory import MemoryStore

PPO = {"total_steps": 288, "num_envs": 3, "rollout_steps": 4, "epochs": 1, "minibatches": 2, "checkpoint_every": 2,
       "preemption": 0.99}  # fmt: skip
"""Of two ranks: 12 updates of 24 steps, each with 2 optimiser steps. The preemption counts, but never cuts."""
POLITE = ("please", "now", "if you can", "as fast as you can", "and nothing else", "for my dear old aunt")


def options(fates=(), second=None, **params):
    """The argument OPTIONS."""
    params["ppo"] = {**PPO, **params.get("ppo", {})}
    return json.dumps({"params": params, "data": 0, "fates": fates, "second": second or {}})


def launched(out, algorithm, fates=()):
    """Two ranks, started as the pipeline starts them."""
    params = {"train": {"processes": 2, "algorithm": algorithm, "epochs": 1.0}}
    arguments = [str(out), options(fates, **params)]
    return run(launch_command("toy_ranks", arguments, changed(**params).train), environment=variables())


def checkpoints(out, phase="ppo"):
    """Updates after which there is one."""
    return sorted(int(path.name.split("_")[1]) for path in Path(f"{out}.checkpoints/{phase}").glob("step_*"))


@dataclass(frozen=True)
class WordyEpisode(ToyEpisode):
    """Asked for in many ways, so that not all of them are read before a training is interrupted."""

    @property
    def instruction(self) -> str:
        wishes = [wish for bit, wish in enumerate(POLITE) if self.seed >> bit & 1]
        return " ".join([ASKED[self.family][0], *wishes])


class NewViews(ToyWorld):
    """No two views have the same key."""

    def view_key(self) -> bytes:
        return hashlib.md5(f"{self.episode.seed}/{self.step}".encode()).digest()


class EarlyEnd(ToyTally):
    """Lets every episode end at a time of its own, so that those side by side do not begin together."""

    def _look(self) -> None:
        super()._look()
        self.success |= self.world.step > 1 + self.world.episode.seed % 4


class Fates:
    """What happens to this rank."""

    def __init__(self, fates):
        self.mine = [fate for fate in fates if fate["rank"] == int(os.environ["RANK"])]
        self.done = {"steps": 0, "optimiser_steps": 0}
        register_optimizer_step_post_hook(lambda *_: self.count("optimiser_steps"))

    def count(self, what):
        self.done[what] += 1
        for fate in self.mine:
            if fate.get(what) == self.done[what]:
                getattr(self, fate["what"].replace(" ", "_"), lambda: None)()

    def has(self, what):
        """Whether something has come to last."""
        begun = (fate for fate in self.mine if fate["what"] == what)
        return any(self.done["steps"] >= fate.get("steps", 0) for fate in begun)

    def kill_itself(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def interrupt_itself(self):
        os.kill(os.getpid(), signal.SIGINT)

    def fill_its_disk(self):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    def kill_all(self):
        self._signal_all(signal.SIGKILL)

    def stop_all(self):
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number):
        """To the launcher and all ranks, as one who ends a whole tree of processes does."""
        launcher = psutil.Process(os.getppid())
        others = [child for child in launcher.children(recursive=True) if child.pid != os.getpid()]
        for process in [*others, launcher, psutil.Process()]:
            process.send_signal(number)


class FatefulWorlds(SingleWorlds):
    def __init__(self, fates, *rest):
        self.fates = fates
        super().__init__(*rest)

    def step(self, actions_N):
        self.fates.count("steps")
        if self.fates.has("slow"):
            time.sleep(0.25)
        return super().step(actions_N)


class FatefulEncoder(ToyEncoder):
    def __init__(self, fates):
        self.fates = fates

    def encode(self, images):
        return super().encode(images) + (np.nan if self.fates.has("blind") else 0)


@dataclass(frozen=True)
class FatefulEnvironment(ToyEnvironment):
    fates: Fates

    def episodes(self, count=64):
        return [WordyEpisode(f"toy-{number}", list(ASKED)[number % 2], number) for number in range(count)]

    def simulator(self):
        return NewViews()

    def progress(self, world):
        return EarlyEnd(world, self.params.reward)

    def vector(self, *rest):
        return FatefulWorlds(self.fates, self, *rest)


def training(out, told):
    """One rank; the first leaves what it has logged in OUT.metrics.json."""
    given, metrics = json.loads(told), {}
    if os.environ["RANK"] == "1":
        given |= given["second"]
    fates = Fates(given["fates"])
    environment = FatefulEnvironment(PARAMS, fates)
    demonstrations, store = data(seed=given["data"])
    stores = MemoryStore(1, 16), MemoryStore(1, 16)
    playground = Playground(environment, environment.episodes(), FatefulEncoder(fates), *stores, "toy")
    train(
        changed(**given["params"]), Shown(Demonstrations(demonstrations, NAMES), store, SHAPE), playground, Path(out),
        lambda phase: lambda step, figures: metrics.update({f"{phase} {step}": figures}), Path(f"{out}.checkpoints"),
    )  # fmt: skip
    if metrics:
        Path(f"{out}.metrics.json").write_text(json.dumps(metrics))


def before_fork():
    """Imports what takes long to import."""
    load_backbone(PARAMS.policy)


if __name__ == "__main__":
    training(*sys.argv[1:])
