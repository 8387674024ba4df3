"""A stage's run in MLflow while a real tracking server is killed, hangs and comes back."""

import json
import signal
import time

import pytest
from mlflow_server import Server

from components import outbox, tracking
from components.paths import Paths
from llarp.config import load_params


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**outbox.IMPATIENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
        patch.setattr(outbox, "FLUSH_S", 0.05)
        patch.setattr(outbox, "MOST_PAUSE_S", 0.5)
        import mlflow

        mlflow.set_tracking_uri(server.uri)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def project(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def params(request):
    return load_params(request.config.rootpath / "params.yaml")


class Training:
    """Logs a point of two curves per step, and remembers the longest that it had to wait."""

    def __init__(self, run):
        self.run, self.step, self.longest_s = run, 0, 0.0

    def go_on(self, steps):
        for _ in range(steps):
            self.step += 1
            begin_s = time.monotonic()
            self.run.log(self.step, {"loss/policy": 1 / self.step, "train/accuracy": 0.5})
            self.longest_s = max(self.longest_s, time.monotonic() - begin_s)
            time.sleep(0.001)

    def assert_whole(self, run_id):
        loss, accuracy = history(run_id, "loss/policy"), history(run_id, "train/accuracy")
        assert loss == [(step, 1 / step) for step in range(1, self.step + 1)]
        assert accuracy == [(step, 0.5) for step in range(1, self.step + 1)]
        assert self.longest_s < 5


def history(run_id, name):
    import mlflow

    return [(point.step, point.value) for point in mlflow.MlflowClient().get_metric_history(run_id, name)]


def test_a_training_goes_on_while_the_server_is_killed_and_started_again(server, project, params, capfd):
    import mlflow

    with tracking.stage_run("train", params, project) as run:
        training = Training(run)
        training.go_on(500)
        server.kill()  # most likely within a request
        training.go_on(1500)
        time.sleep(1)
        training.go_on(500)
        server.start()
        training.go_on(500)
        run.figures({"views": 12})

    training.assert_whole(run.id)
    stored = mlflow.MlflowClient().get_run(run.id)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics["views"] == 12
    assert stored.data.metrics["loss/policy"] == 1 / training.step
    assert json.loads(project.run("train").read_text())["run_id"] == run.id
    assert not list((project.state / tracking.KEPT).glob("*"))

    load = history(run.id, "system/cpu_utilization_percentage")
    assert [step for step, _ in load] == list(range(len(load)))
    assert len(load) > 5 and any(value > 0 for _, value in load)
    assert history(run.id, "system/system_memory_usage_megabytes")

    told = capfd.readouterr()
    assert told.out.count("does not answer") == told.out.count("answers again") == 1
    assert "retry" not in told.err.lower() and "Traceback" not in told.err


def test_a_server_that_hangs_holds_nothing_up(server, project, params, monkeypatch):
    with tracking.stage_run("encoder", params, project) as run:
        training = Training(run)
        training.go_on(100)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        server.signal(signal.SIGSTOP)
        try:
            training.go_on(1000)
            time.sleep(3)  # the request is given up and made again, though the server will have read both
        finally:
            server.signal(signal.SIGCONT)
            monkeypatch.undo()
    training.assert_whole(run.id)


def test_what_a_server_misses_that_stays_away_is_kept_and_sent_by_the_next_stage(
    server, project, params, monkeypatch, capfd
):
    import mlflow

    monkeypatch.setattr(tracking, "_QUIET_S", 0.5)
    monkeypatch.setattr(tracking, "SERVER_WAIT_S", 1.0)
    monkeypatch.setattr(outbox, "HASTY", {})  # this process goes on
    report = project.root / "report.html"
    report.write_text("<p>")
    with tracking.stage_run("evaluate", params, project) as run:
        training = Training(run)
        training.go_on(100)
        server.kill()
        training.go_on(2500)
        run.artifact(report)
    report.unlink()

    kept = project.state / tracking.KEPT / run.id
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if str(kept) in line] == lines[-1:]
    assert "Waiting up to" in lines[-2]
    points = [json.loads(line) for line in (kept / "points.jsonl").read_text().splitlines()]
    assert points[-1].keys() == {"name", "value", "time_ms", "step"}
    assert json.loads(project.run("evaluate").read_text())["run_id"] == run.id

    server.start()
    assert mlflow.MlflowClient().get_run(run.id).info.status == "RUNNING"
    tracking.open_client(project)
    assert not kept.exists()
    training.assert_whole(run.id)
    assert mlflow.MlflowClient().get_run(run.id).info.status == "FINISHED"
    assert [file.path for file in mlflow.MlflowClient().list_artifacts(run.id)] == ["report.html"]
    assert capfd.readouterr().out.count(run.id) == 1
