"""Where the encoder's weights come from, and their licence, is told by the stage, its run and the model version."""

import json
from types import SimpleNamespace

import pytest
import torch

from components import encoder as stage
from components import outbox, register, tracking
from components.paths import Paths
from llarp.config import load_params
from llarp.files import sha256
from llarp.vision import named
from llarp.vision.vc1 import Shape

SMALL = Shape(dim=64, depth=1, patch=8, grid=4, hidden=64)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with its own store of runs."""
    import mlflow

    (tmp_path / "dvc.yaml").write_text('stages:\n  encoder:\n    cmd: "true"\n    params: [vision]\n')
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in outbox.IMPATIENT.items():  # else they stay set
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    mlflow.set_tracking_uri(uri)
    yield Paths(tmp_path)
    torch.set_num_threads(threads)  # the stage takes all there are


@pytest.fixture
def params(request, project, monkeypatch):
    """With VC-1's base, small, from a file of random weights."""
    monkeypatch.setitem(named.NAMED, "vc1-base", named.VC1(SMALL, named.NAMED["vc1-base"].licence))
    path = project.root / "vc1_vitb.pth"
    torch.save({"model": {name: torch.randn(size) for name, size in SMALL.tensors().items()}}, path)
    params = load_params(request.config.rootpath / "params.yaml")
    vision = {"encoder": "vc1-base", "weights": str(path), "output": "cls"}
    return params.model_copy(update={"vision": params.vision.model_copy(update=vision)})


def test_the_stage_tells_and_records_it(project, params, capsys):
    import mlflow

    with tracking.stage_run("encoder", params, project):
        stage.build(params, project, SimpleNamespace(), [], lambda step, metrics: None)
    told = "Encoder: vc1-base from vc1_vitb.pth; licence: CC-BY-NC-4.0 (not for commercial use"
    assert told in capsys.readouterr().out
    digest = sha256(params.vision.weights)
    expected = {"source": "vc1-base from vc1_vitb.pth", "licence": "CC-BY-NC-4.0", "sha256": digest}
    written = json.loads((project.encoder / "encoder.json").read_text())
    assert {key: written[key] for key in expected} == expected
    run = mlflow.MlflowClient().get_run(json.loads(project.run("encoder").read_text())["run_id"])
    assert run.info.status == "FINISHED"
    assert {key: run.data.tags[f"encoder.{key}"] for key in expected} == expected


def test_a_server_that_refuses_stops_no_stage(project, params, capsys, monkeypatch):
    import mlflow

    def away(*_):
        raise mlflow.MlflowException("no\nanswer")

    monkeypatch.setattr(mlflow, "set_tags", away)
    with tracking.stage_run("encoder", params, project):
        stage.build(params, project, SimpleNamespace(), [], lambda step, metrics: None)
    assert "MLflow was not told the licence of the encoder: no answer" in capsys.readouterr().out
    assert (project.encoder / "model.safetensors").is_file()


def test_without_a_run_it_is_only_told(project, params, capsys):
    stage.build(params, project, SimpleNamespace(), [], lambda step, metrics: None)
    assert "licence: CC-BY-NC-4.0" in capsys.readouterr().out


def test_the_model_version_carries_it(project, params):
    stage.build(params, project, SimpleNamespace(), [], lambda step, metrics: None)
    project.policy.mkdir(parents=True)
    (project.policy / "policy.json").write_text('{"backbone": {"name": "a decoder"}}')
    for name in ("train", "evaluate"):
        project.run(name).parent.mkdir(parents=True, exist_ok=True)
        project.run(name).write_text('{"run_id": "1"}')
    origin = register.lineage(project)
    assert origin["encoder.source"] == "vc1-base from vc1_vitb.pth"
    assert origin["encoder.licence"] == "CC-BY-NC-4.0"
    assert origin["encoder.sha256"] == sha256(params.vision.weights)
    assert len(origin["encoder.identity"]) == 64


def test_what_was_trained_here_says_so(project, params, monkeypatch, capsys):
    from llarp.vision import mae, warm

    monkeypatch.setattr(warm, "sample_frames", lambda *_: None)
    monkeypatch.setattr(mae, "train_mae", lambda *_: None)
    own = params.model_copy(update={"vision": params.vision.model_copy(update={"encoder": "mae-tiny"})})
    stage.build(own, project, SimpleNamespace(simulator=lambda: None), [], lambda step, metrics: None)
    assert "Encoder: mae-tiny, trained here; licence: own." in capsys.readouterr().out
