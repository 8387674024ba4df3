"""From the registry to the robot: the loops of docs/serving.md, `llarp serve` as a process, and MLflow's own way."""

import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from agents import INSTRUCTIONS, ROOT, images

from llarp.errors import UserError
from pipelines.cli.serve import serve

LOOPS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)

NAMES = {"policy": "policy", "encoder": "encoder", "params": "params.yaml"}


class Robot:
    """Sees the images of a list and does nothing."""

    def __init__(self):
        self.seen, self.done = iter(images(32, 1)), []

    def image(self):
        return next(self.seen)

    def do(self, skill):
        self.done.append(skill)


@pytest.fixture(scope="module")
def registry(saved, tmp_path_factory):
    """Variables of a process whose registry holds the small policy as champion."""
    import mlflow

    from components import model_files

    folder = tmp_path_factory.mktemp("registry")
    address = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("llarp", artifact_location=(folder / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment):
            info = mlflow.pyfunc.log_model(
                name="policy", python_model=str(ROOT / "components" / "pyfunc_model.py"),
                artifacts={key: str(saved / name) for key, name in NAMES.items()},
                code_paths=[str(ROOT / "llarp")], pip_requirements=["numpy"], registered_model_name="llarp",
            )  # fmt: skip
        number = str(info.registered_model_version)
        digest = model_files.digest(model_files.copy(client.get_model_version("llarp", number)))
        client.set_model_version_tag("llarp", number, model_files.MODEL_SHA256, digest)
        client.set_registered_model_alias("llarp", "champion", number)
        yield {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def expected(agent):
    """Skills at a robot's images, by the agent itself."""
    robot = Robot()
    with agent.start("Move an apple to the sofa") as session:
        return [session.act(robot.image()) for _ in range(32)]


def test_the_page_holds_two_loops():
    assert len(LOOPS) == 2
    assert all(len([line for line in loop.splitlines() if line]) <= 12 for loop in LOOPS)


def test_the_loop_in_a_program_of_ones_own(registry, expected):
    robot = Robot()
    exec(LOOPS[0], {"robot": robot})
    assert robot.done == expected


def test_mlflows_predict_answers_the_same(registry, agent):
    import mlflow

    model = mlflow.pyfunc.load_model("models:/llarp@champion")
    seen = images(5, 2)
    with agent.start(INSTRUCTIONS[2]) as session:
        expected = [session.act(image) for image in seen]
    request = {"instruction": INSTRUCTIONS[2], "images": seen}
    assert model.predict(request) == expected
    assert model.predict([{**request, "images": seen[:2].tolist()}]) == [expected[:2]]
    with pytest.raises(ValueError, match=r"not \[T, 32, 32, 3\]"):
        model.predict({**request, "images": np.zeros((2, 33, 32, 3), np.uint8)})


def test_llarp_serve_serves_the_loop_and_ends_in_order(registry, expected, tmp_path):
    code = "from pipelines.cli.main import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0"], env=registry, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        first, line = server.stdout.readline(), server.stdout.readline()
        assert first == "Loading version 1 of llarp ...\n" and line, server.communicate()
        address = re.fullmatch(r"Serving (http://127\.0\.0\.1:\d+); Ctrl-C stops it\n", line)[1]
        robot = Robot()
        exec(LOOPS[1].replace("http://127.0.0.1:8080", address), {"robot": robot})
        assert robot.done == expected
        server.send_signal(signal.SIGTERM)
        printed, errors = server.communicate(timeout=30)
    finally:
        server.kill()
    assert server.returncode == 128 + signal.SIGTERM
    assert re.fullmatch(r"Served 32 steps, p50 [\d.]+ ms, p99 [\d.]+ ms\n", printed)
    assert errors == ""


@pytest.mark.parametrize(("options", "message"), [
    ({"model": "models:/llarp@nobody"}, "nobody"), ({"model": "llarp"}, "names no version"),
    ({"host": "203.0.113.7"}, "203.0.113.7 port 0: cannot listen"),
])  # fmt: skip
def test_what_cannot_be_served_is_told_in_one_line(registry, options, message):
    with pytest.raises(UserError, match=message) as refused:
        serve(**{"model": "models:/llarp@champion", "host": "127.0.0.1", "port": 0, **options})
    assert "\n" not in str(refused.value)


def test_a_port_in_use_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot listen there \(Address already in use\).*--port"):
            serve(host="127.0.0.1", port=taken.getsockname()[1])
