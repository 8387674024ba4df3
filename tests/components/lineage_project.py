"""A small project with a git commit, three stages that DVC has run, and a version in a registry of its own."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from components import lineage_record, register
from components.environment import defaults
from components.lineage_record import TEMPLATES
from components.paths import Paths
from components.tracking import FLOW_RUN
from llarp.config import load_params
from llarp.files import sha256

HERE = Path(__file__).parent
EXPERIMENT = "llarp"
NAME = "llarp"
MODEL = """
from pathlib import Path

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Answer(PythonModel):
    def load_context(self, context):
        self.answer = (Path(context.artifacts["policy"]) / "adapters.safetensors").read_text()

    def predict(self, context, model_input, params=None):
        return self.answer


set_model(Answer())
"""
PIPELINE = """
stages:
  episodes:
    cmd: mkdir -p data/runs && cp -r made/episodes data/episodes && cp made/runs/episodes.json data/runs
    deps: [made/episodes]
    outs: [data/episodes, data/runs/episodes.json]
  encoder:
    cmd: cp -r made/encoder data/encoder && echo 0.5 > data/probe.json && cp made/runs/encoder.json data/runs
    deps: [data/episodes/train]
    outs: [data/encoder, data/probe.json, data/runs/encoder.json]
  train:
    cmd: cp -r made/policy data/policy && cp made/runs/train.json data/runs
    deps: [data/encoder, data/episodes/train, made/policy]
    params: [seed]
    outs: [data/policy, data/runs/train.json]
  evaluate:
    cmd: mkdir -p data/evaluation && echo {} > data/evaluation/summary.json && cp made/runs/evaluate.json data/runs
    deps: [data/encoder, data/episodes, data/policy]
    outs: [data/runs/evaluate.json]
    metrics: [data/evaluation/summary.json]
  register:
    cmd: "true"
    deps: [data/encoder, data/evaluation/summary.json, data/policy, data/runs/train.json]
"""


class LineageProject:
    """Its folder, and what tests do with it."""

    def __init__(self, root: Path) -> None:
        self.root, self.paths = root, Paths(root)

    def make(self) -> "LineageProject":
        """Runs all stages and registers version 1 as champion."""
        self._write()
        self._git("init", "--quiet")
        self._git("add", ".")
        self._git("commit", "--quiet", "-m", "first")
        self._dvc("init", "--quiet")
        self._dvc("repro", "--quiet")
        self.register()
        return self

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient()

    def version(self, number: int = 1):
        return self.client.get_model_version(NAME, str(number))

    def model_folder(self, number: int = 1) -> Path:
        """Where MLflow keeps a version's files."""
        return Path(self.client.get_model_version_download_uri(NAME, str(number)).removeprefix("file://"))

    def artifact(self, name: str) -> Path:
        """A file of the run that registered version 1."""
        uri = self.client.get_run(self.version().run_id).info.artifact_uri
        return Path(uri.removeprefix("file://")) / name

    def listed(self) -> dict[str, str]:
        """Files of version 1 -> sha256, as its record has them."""
        return lineage_record.read(self.version()).model.files

    def cached(self, md5: str) -> Path:
        return self.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]

    def register(self) -> int:
        """What the stage does, with a model that needs no torch."""
        paths = self.paths
        parts = {"policy": str(paths.policy), "encoder": str(paths.encoder), "params": str(paths.params)}
        with mlflow.start_run(experiment_id=self.experiment, run_name="register"):
            origin = register.lineage(paths)
            info = mlflow.pyfunc.log_model(
                name="policy",
                python_model=str(self.root / "model.py"),
                artifacts=parts,
                code_paths=[str(self.root / "llarp")],
                pip_requirements=["mlflow"],
                metadata=origin,
            )
            recorded = lineage_record.write(self.client, load_params(paths.params), paths, NAME, info, origin)
            tags = {**origin, **recorded, "eval/total/success": "0.5000"}
            number = int(mlflow.register_model(info.model_uri, NAME, tags=tags).version)
        self.client.set_registered_model_alias(NAME, "champion", str(number))
        return number

    def _write(self) -> None:
        root = HERE.parents[1]
        made = self.root / "made"
        for folder in ("episodes/train", "policy", "encoder", "runs"):
            (made / folder).mkdir(parents=True)
        backbone = self.root / "backbone"
        backbone.mkdir()
        (backbone / "model.safetensors").write_text("frozen")
        identity = {"name": str(backbone), "revision": None, "sha256": sha256(backbone / "model.safetensors")}
        (made / "policy" / "policy.json").write_text(json.dumps({"backbone": identity}))
        (made / "policy" / "adapters.safetensors").write_text("trained")
        encoder = {"identity": "e" * 64, "source": "mae-tiny, trained here", "sha256": "", "licence": "own"}
        (made / "encoder" / "encoder.json").write_text(json.dumps(encoder))
        (made / "encoder" / "model.safetensors").write_text("seen")
        (made / "episodes" / "train" / "part-00000.parquet").write_text("asked")
        (made / "episodes" / "train" / "part-00001.parquet").write_text("asked more")
        self.experiment = self.client.create_experiment(EXPERIMENT, artifact_location=self.paths.artifacts.as_uri())
        for stage in ("episodes", "encoder", "train", "evaluate"):
            run = self.client.create_run(self.experiment, run_name=stage)
            link = {"experiment_id": self.experiment, "run_id": run.info.run_id}
            (made / "runs" / f"{stage}.json").write_text(json.dumps(link))
        shutil.copy(root / "params.yaml", self.root)
        templates = self.root / TEMPLATES
        templates.parent.mkdir(parents=True)
        templates.write_text("[move]\n")
        (self.root / "llarp" / "code.py").write_text("x = 1\n")
        (self.root / "model.py").write_text(MODEL)
        (self.root / "dvc.yaml").write_text(PIPELINE)
        (self.root / ".gitignore").write_text("/data\n/.llarp\n/made\n")

    def _git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def _dvc(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=self.root, check=True)


@contextmanager
def lineage_project(root: Path):
    """A project whose registry is the one of this process for a while."""
    variables = {
        "MLFLOW_TRACKING_URI": defaults(root)["MLFLOW_TRACKING_URI"],
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "true",
        FLOW_RUN: "flow-7",
    }
    (root / ".llarp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        mlflow.set_tracking_uri(variables["MLFLOW_TRACKING_URI"])
        yield LineageProject(root).make()


@contextmanager
def flipped(path: Path):
    """One bit of a file is another one for a while; of a file that DVC has made read-only too."""
    text, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o600)
    middle = len(text) // 2
    path.write_bytes(text[:middle] + bytes([text[middle] ^ 1]) + text[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(text)
        path.chmod(mode)


@contextmanager
def moved(path: Path):
    """A file or folder is gone for a while."""
    away = path.with_name(f"{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)
