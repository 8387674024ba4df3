import os
import socket
import subprocess
import sys

import pytest

HEAVY = ("torch", "mlflow", "prefect", "dvc", "transformers", "mujoco", "pyarrow", "pandas")


def llarp(root, cwd, *arguments):
    code = "from pipelines.cli.main import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "120"}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def root(request):
    return request.config.rootpath


def test_help_names_the_commands(root, tmp_path):
    done = llarp(root, tmp_path, "--help")
    assert done.returncode == 0
    added = (
        "services",
        "deploy",
        "worker",
        "workspaces",
        "promote",
        "rollback",
        "approve",
        "audit",
        "lineage",
        "serve",
    )
    for name in ("run", "import", "play", "check", "visibility", "params", "ui", "reproduce", *added):
        assert f"  {name} " in done.stdout


def test_the_command_line_imports_nothing_heavy(root):
    code = f"import sys, pipelines.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [("--preset", "none"), ("--set", "train.epochs=0"), ("--set", "nothing=1"), ("--set", "seed")]
)
def test_bad_parameters_are_refused_before_anything_starts(root, tmp_path, arguments):
    (tmp_path / ".dvc").mkdir()
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    done = llarp(root, tmp_path, "run", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert (tmp_path / "params.yaml").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", "params.yaml"]


def test_outside_the_project_it_says_so(root, tmp_path):
    done = llarp(root, tmp_path, "run")
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_params_prints_every_parameter(root):
    done = llarp(root, root, "params")
    assert done.returncode == 0
    assert "camera.tilt_deg" in done.stdout
    assert "downward tilt, degrees" in done.stdout


def test_import_refuses_what_is_no_release(root, tmp_path):
    (tmp_path / "train.pickle").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    done = llarp(root, tmp_path, "import", "train.pickle")
    assert done.returncode == 2
    assert "train.pickle" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["train.pickle"]


def test_ui_refuses_a_port_in_use(root, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = llarp(root, tmp_path, "ui", "--mlflow-port", str(port))
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr and "--mlflow-port" in done.stderr
