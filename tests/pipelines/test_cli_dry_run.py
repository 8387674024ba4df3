"""`llarp dry-run` says what a training would take, and changes nothing."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from llarp.config import load_params
from llarp.errors import UserError
from llarp.vision.mae import train_mae
from pipelines.cli import train
from pipelines.cli.train import token_shape

OUTPUTS = ("cls", "mean", "patches", "units")


@pytest.fixture
def project(request, tmp_path, monkeypatch):
    """A folder with the parameters, to stand in."""
    shutil.copy(request.config.rootpath / "params.yaml", tmp_path)
    shutil.copytree(request.config.rootpath / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figure(text, name):
    return int(re.search(rf"^ *{name} +([\d,]+)$", text, re.MULTILINE)[1].replace(",", ""))


@pytest.mark.parametrize(
    ("name", "actions", "width"),
    [
        (None, 70, 384),
        ("atari", 6, 384),
        ("babyai", 6, 384),
        ("laptop", 70, 384),
        ("paper", 70, 4096),
        ("single-gpu", 70, 2048),
        ("test", 70, 384),
    ],
)
def test_every_preset_is_told_and_nothing_is_written(project, name, actions, width, capsys):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    train.dry_run(name, ["policy.previous_action=true"])
    told = capsys.readouterr().out
    assert figure(told, "previous") == (actions + 1) * width, "one more stands for the start of an episode"
    assert "memory of a process" in told and "FLOP" in told
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_it_is_a_command_and_bad_input_is_one_line(request, project):
    def llarp(*arguments):
        variables = {**os.environ, "PYTHONPATH": str(request.config.rootpath)}
        command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "dry-run", *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    done = llarp("--preset", "paper")
    assert done.returncode == 0 and figure(done.stdout, "trained parameters") == 22_338_119
    done = llarp("--set", "policy.backbone=org/name")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("preset", "assignment", "words"),
    [
        ("none", "seed=1", r"presets/none.yaml: cannot be read"),
        (None, "seed", "write --set key=value"),
        (None, "nothing.seed=1", "is no parameter"),
        (None, "train.epoch=1", r"key train\.epoch"),
        (None, "train.epochs=[1", "is no YAML"),
        (None, "vision.encoder=nowhere", r"vision\.encoder=nowhere: nothing here says what shape"),
    ],
)
def test_what_is_wrong_is_named(project, preset, assignment, words):
    with pytest.raises(UserError, match=words) as caught:
        train.dry_run(preset, [assignment])
    assert "\n" not in str(caught.value)


def test_features_have_the_shape_that_the_encoder_gives_them(project, tmp_path):
    params = load_params("params.yaml")
    config = params.vision.model_copy(update={"epochs": 1, "batch_size": 4})
    pixels = 32
    frames = np.random.default_rng(0).integers(0, 256, (4, pixels, pixels, 3), np.uint8)
    encoder = train_mae(frames, config, 0, tmp_path / "encoder")
    for output in OUTPUTS:
        made = encoder.with_output(output)
        for name in ("mae-tiny", str(tmp_path / "encoder")):
            given = config.model_copy(update={"encoder": name, "output": output})
            assert token_shape(given, pixels) == (made.num_tokens, made.dim)


@pytest.mark.parametrize(("name", "width"), [("vc1-base", 768), ("vc1-large", 1024), ("vc1-large-permissive", 1024)])
def test_vc1_is_known(project, name, width):
    config = load_params("params.yaml").vision.model_copy(update={"encoder": name})
    shapes = [token_shape(config.model_copy(update={"output": output}), 112) for output in OUTPUTS]
    assert shapes == [(1, width), (1, width), (196, width), (1, 8 * width)]


def test_a_vit_of_the_hub_is_looked_for_in_the_local_cache_alone(project, monkeypatch):
    import socket

    def nothing(*_, **__):
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", nothing)
    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    given = {"encoder": "facebook/vit-mae-base", "revision": "0" * 40}
    config = load_params("params.yaml").vision.model_copy(update=given)
    with pytest.raises(UserError, match="nothing here says what shape it has") as caught:
        token_shape(config, 112)
    assert "\n" not in str(caught.value)
