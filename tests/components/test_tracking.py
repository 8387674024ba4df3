import json

import pytest

from components import outbox, tracking
from components.paths import Paths
from components.unsent import Point, Unsent
from llarp.config import load_params

PIPELINE = """
stages:
  train:
    cmd: "true"
    deps: [data/features]
    params: [seed, train]
"""
LOCK = """
stages:
  features:
    outs:
    - {path: data/features, md5: 0123456789abcdef0123456789abcdef.dir}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "dvc.lock").write_text(LOCK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv(tracking.FLOW_RUN, "flow-7")
        for name, value in outbox.IMPATIENT.items():  # else they stay set
            patch.setenv(name, value)
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
        yield Paths(root)


@pytest.fixture
def params(request):
    return load_params(request.config.rootpath / "params.yaml")


def test_a_run_holds_parameters_inputs_curves_and_results(project, params):
    import mlflow

    with tracking.stage_run("train", params, project) as run:
        for step in range(1, 4):
            run.log(step, {"loss/policy": 1.0 / step})
        run.figures({"views": 12, "unknown": float("nan")})
        report = project.root / "report.html"
        report.write_text("<p>")
        run.artifact(report)

    link = json.loads(project.run("train").read_text())
    stored = mlflow.MlflowClient().get_run(link["run_id"])
    assert stored.info.status == "FINISHED"
    assert stored.data.params["train.lr"] == str(params.train.lr)
    assert stored.data.params["seed"] == str(params.seed)
    assert not any(key.startswith("encoder") for key in stored.data.params)
    assert stored.data.tags["stage"] == "train"
    assert stored.data.tags["prefect.flow_run_id"] == "flow-7"
    assert stored.data.metrics["views"] == 12
    assert "unknown" not in stored.data.metrics
    curve = mlflow.MlflowClient().get_metric_history(link["run_id"], "loss/policy")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [file.path for file in mlflow.MlflowClient().list_artifacts(link["run_id"])] == ["report.html"]

    (used,) = stored.inputs.dataset_inputs
    source = mlflow.data.get_source(used)
    assert used.dataset.source_type == "dvc"
    assert (source.path, source.md5) == ("data/features", "0123456789abcdef0123456789abcdef.dir")
    assert used.dataset.digest == source.md5


def test_a_stage_that_fails_leaves_a_failed_run_and_no_link(project, params):
    import mlflow

    with pytest.raises(RuntimeError), tracking.stage_run("evaluate", params, project) as run:
        raise RuntimeError("no")
    assert mlflow.MlflowClient().get_run(run.id).info.status == "FAILED"
    assert not project.run("evaluate").exists()


def test_a_point_sent_twice_is_stored_once(project, params):
    import mlflow

    points = [Point("loss", value, 1000 + step, step) for step, value in enumerate([1.0, float("nan"), float("inf")])]
    with tracking.stage_run("train", params, project) as run:
        for first in (0, 0, 1):  # whole, again, and a part beside a new one
            new = [Point("loss", 0.5, 2000, 9)] if first else []
            Unsent(run.id, points[first:] + new).send(mlflow.MlflowClient())
    curve = mlflow.MlflowClient().get_metric_history(run.id, "loss")
    assert [point.step for point in curve] == [0, 1, 2, 9]


def test_a_file_that_is_not_there_is_told_at_once(project, params):
    with pytest.raises(FileNotFoundError), tracking.stage_run("evaluate", params, project) as run:
        run.artifact(project.root / "none.html")


def test_a_run_deleted_meanwhile_neither_stops_nor_delays_the_stage(project, params, capsys):
    import mlflow

    with tracking.stage_run("train", params, project) as run:
        mlflow.MlflowClient().delete_run(run.id)
        run.log(1, {"loss": 1.0})
    assert "MLflow refuses" in capsys.readouterr().out
    assert not (project.state / tracking.KEPT / run.id).exists()
