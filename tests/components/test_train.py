"""The stage `train` as whole processes: on one machine, and on two that share no file."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import yaml

from components import train as stage
from components.paths import Paths
from components.stage import ERROR_FILE
from llarp.config import load_params
from llarp.errors import UserError
from llarp.learn import demonstrations
from llarp.learn.demonstrations import Demonstration, Demonstrations
from llarp.vision.store import ShardStore

CODER = SimpleNamespace(identity="toy", num_tokens=1, dim=8)
NAMES = tuple(f"action {number}" for number in range(8))
STEPS, EVERY = 60, 5
"""Optimiser steps of a training: 40 episodes, 8 at once, 12 epochs. And those between checkpoints."""


@pytest.fixture
def root(request):
    return request.config.rootpath


def machine(folder, root, **train):
    """A folder with parameters and data of its own: episodes of random views, whose number is the action."""
    params = yaml.safe_load((root / "presets" / "test.yaml").read_text())
    params["train"] |= {"epochs": 12, "checkpoint_every": EVERY, "log_every": 1, **train}
    paths, rng = Paths(folder), np.random.default_rng(0)
    folder.mkdir()
    paths.params.write_text(yaml.safe_dump(params))
    shown = []
    with ShardStore.create(paths.features, CODER) as store:
        for number in range(40):
            actions = rng.integers(0, 8, rng.integers(1, 7))
            keys = [hashlib.md5(f"{number}/{step}".encode()).digest() for step in range(len(actions))]
            store.add(keys, np.eye(8, dtype=np.float32)[actions][:, None])
            shown.append(Demonstration(f"e{number}", f"Find thing {number % 9}", keys, actions.tolist()))
    demonstrations.write(paths.demonstrations, Demonstrations(shown, NAMES))
    return paths


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    """Adapters of an uninterrupted training on one machine with two ranks."""
    root = request.config.rootpath
    paths = machine(tmp_path_factory.mktemp("machine") / "whole", root, processes=2)
    (told,) = end(start(paths, root, "components.train"))
    assert told[0] == 0, told
    return adapters(paths)


def adapters(paths):
    return (paths.policy / "adapters.safetensors").read_bytes()


def start(paths, root, *command):
    """Runs a module in a machine's folder, in a session of its own."""
    variables = {**os.environ, "PYTHONPATH": str(root)}
    for name in ("MLFLOW_TRACKING_URI", ERROR_FILE):
        variables.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=paths.root, env=variables, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(*processes):
    """(exit code, stdout, stderr) of each; whatever is left of them is killed."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=200)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            kill(process)
    return found


def kill(process):
    """SIGKILL to a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(process.pid)
        for one in [*leader.children(recursive=True), leader]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def pair(first, second, root):
    """Two machines; the second is there before the first."""
    joined = start(second, root, "pipelines.cli", "join", "1")
    return start(first, root, "components.train"), joined


def checkpoints(paths):
    return sorted(int(path.name.split("_")[1]) for path in paths.checkpoints.glob("bc/step_*"))


def wait_for_checkpoint(paths, step, process):
    """Until there is one of that step or a later one."""
    while max(checkpoints(paths), default=0) < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def errors(told):
    return [line for line in told[2].splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_machines_without_a_common_file_train_as_one_does(tmp_path, root, whole):
    together = {"processes": 2, "machines": 2, "address": f"127.0.0.1:{free_port()}"}
    first, second = (machine(tmp_path / name, root, **together) for name in ("first", "second"))
    running, joined = pair(first, second, root)
    wait_for_checkpoint(first, 2 * EVERY, running)
    kill(joined)
    told, _ = end(running, joined)
    assert told[0] not in (0, 2), "it does not wait for a machine that is gone"
    assert checkpoints(first) and not checkpoints(second)

    told, others = end(*pair(first, second, root))
    assert told[0] == 0 and f"bc for {STEPS} steps" in told[1], told
    assert others[0] == 0, others
    assert others[1].splitlines()[-1] == "Machine 1 has done its part: the policy is on the first machine."
    assert adapters(first) == whole
    assert not second.policy.exists() and not second.curves.exists()
    assert sorted(path.name for path in second.data.glob("[!.]*")) == ["demonstrations.parquet", "features"]

    # The same once more, but now the second has other data: both say so, in one line.
    store = demonstrations.read(second.demonstrations)
    demonstrations.write(second.demonstrations, Demonstrations(store[1:], NAMES))
    said = end(*pair(first, second, root))
    line = (
        "error: machine 1, bc: has other data or another backbone than the first — give every machine the same "
        "commit, params.yaml and data"
    )
    assert [one[0] for one in said] == [2, 2], said
    assert [errors(one) for one in said] == [[line], [line]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bad_data_are_one_line_from_several_ranks_and_sigterm_leaves_a_checkpoint(tmp_path, root, whole):
    paths = machine(tmp_path / "one", root, processes=2)
    shard = next(paths.features.glob("*.safetensors"))
    sound = shard.read_bytes()
    shard.write_bytes(sound[:-8] + b"\0" * 7 + b"\1")
    (told,) = end(start(paths, root, "components.train"))  # only one rank reads it over, and the other must not wait
    assert told[0] == 2, told
    assert len(errors(told)) == 1 and shard.name in errors(told)[0], told
    assert told[2].count("\n") == 1, told

    shard.write_bytes(sound)
    running = start(paths, root, "components.train")
    wait_for_checkpoint(paths, EVERY, running)
    running.terminate()  # this one alone: it sees to its ranks
    (told,) = end(running)
    assert told[0] == 128 + signal.SIGTERM
    assert checkpoints(paths)
    assert not any(str(paths.root) == process.info["cwd"] for process in psutil.process_iter(["cwd"]))
    (told,) = end(start(paths, root, "components.train"))
    assert told[0] == 0, told
    assert adapters(paths) == whole


SILENT = "import os, pathlib, time; pathlib.Path(os.environ['{}']).write_text('no server'); time.sleep(600)"


def test_ranks_that_wait_for_one_that_has_given_up_are_ended(monkeypatch, root):
    started = []

    def command(module, arguments, config, machine):
        started.append(module)
        return [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"]

    inner = SILENT.format(ERROR_FILE)
    monkeypatch.setattr("llarp.launch.launch_command", command)
    monkeypatch.setattr("components.launch._PATIENCE_S", 0.5)
    with pytest.raises(UserError, match="no server"):
        stage.launch(load_params(root / "presets" / "test.yaml"))
    assert started == ["components.train"]
    assert not [process for process in psutil.process_iter(["cmdline"]) if inner in (process.info["cmdline"] or [])]
