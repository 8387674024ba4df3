import os
import subprocess
import sys

import pytest
import yaml


@pytest.fixture
def root(request):
    return request.config.rootpath


def llarp(root, cwd, *arguments):
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "400"}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=100)


def write(root, folder, **train):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["train"] |= train
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_help_tells_what_the_machines_need(root, tmp_path):
    done = llarp(root, tmp_path, "join", "--help")
    assert done.returncode == 0
    for word in ("llarp run", "commit", "params.yaml", "train.machines", "train.address", "processes", "dvc pull"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("machine", "train", "told"),
    [
        ("0", {}, "llarp join 0: the first machine runs the whole pipeline — run `llarp run` there"),
        ("1", {}, "train.machines: there is only one machine"),
        ("3", {"machines": 2, "address": "first:29500"}, "train.machines: there is no machine 3 — choose 0 to 1"),
        ("-1", {"machines": 2, "address": "first:29500"}, "train.machines: there is no machine -1"),
        ("1", {"machines": 2}, "train.address: unset — write it as HOST:PORT"),
        ("1", {"machines": 2, "address": "first"}, "train.address: 'first' is no address of the first machine"),
        ("1", {"machines": 2, "processes": 3, "address": "first:1"}, "train.processes: 3 processes cannot be shared"),
        ("1", {"machines": 0}, "params.yaml: key train.machines: "),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(root, tmp_path, machine, train, told):
    write(root, tmp_path, **train)
    done = llarp(root, tmp_path, "join", "--", machine)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_the_first_machine_is_refused_before_it_begins(root, tmp_path):
    write(root, tmp_path)
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "incoming").mkdir()
    done = llarp(root, tmp_path, "run", "--set", "train.machines=2")
    assert done.returncode == 2
    assert done.stderr.startswith("error: train.address: unset") and done.stderr.count("\n") == 1, done.stderr
    assert (tmp_path / "params.yaml").read_text() == text


def test_without_parameters_it_says_so(root, tmp_path):
    done = llarp(root, tmp_path, "join", "1")
    assert done.returncode == 2
    assert "params.yaml" in done.stderr and done.stderr.count("\n") == 1
