"""What a registered version comes from, written once when it is registered: `lineage.json` in the run of that stage.

Beside it lie the `dvc.lock` and the `params.yaml` of that moment, from which DVC restores every stage before it. The
registry holds the record's sha256 as a tag, the record holds the hashes of everything else.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from components import model_files
from components.git import git
from components.lineage import CODE, Lineage
from components.machine import machine
from components.model_files import LINEAGE_SHA256, MODEL_BYTES, MODEL_SHA256, RECORD
from components.paths import Paths
from llarp.config import Params, flatten
from llarp.errors import UserError
from llarp.files import sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.model import ModelInfo

STAGE = "register"
TEMPLATES = "llarp/tasks/language/templates.toml"
"""The wordings of all instructions."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(_Part):
    """The registered files."""

    name: str
    sha256: str
    """As `model_files.digest`."""
    bytes: int
    files: dict[str, str]
    """Path in the version's folder -> sha256."""


class Git(_Part):
    """The code."""

    commit: str
    """`unknown` outside a git repository."""
    dirty: bool
    changed: dict[str, str | None]
    """Files of the code that differ from the commit -> sha256; None: removed."""


class Stage(_Part):
    """One stage as dvc.lock has it; `register` itself as dvc.yaml has it."""

    experiment: str | None
    run: str | None
    """Of MLflow; None when the stage left no id."""
    deps: dict[str, str]
    """Path -> md5 of DVC; code too."""
    outs: dict[str, str]
    """Data only."""
    link: str | None
    """md5 of the file in which the stage has left the id of its run, data/runs/STAGE.json."""


class Record(_Part):
    """The lineage of a version."""

    format: Literal[1] = 1
    time: str
    """UTC."""
    model: Model
    git: Git
    stages: dict[str, Stage]
    """As dvc.lock lists them."""
    params: dict[str, Any]
    """Every parameter under its dotted key."""
    files: dict[str, str | None]
    """sha256 of dvc.lock and params.yaml, kept with the run, and of the templates; None: no such file."""
    backbone: dict[str, Any]
    """name, revision, sha256"""
    encoder: dict[str, Any]
    """identity, source, revision, sha256, licence"""
    packages: dict[str, str]
    machine: dict[str, Any]
    """The one that registered."""
    flow_run: str | None
    """Of Prefect."""

    @property
    def outputs(self) -> dict[str, str]:
        """Path -> md5 of all data, those of `register` left out."""
        return {path: md5 for stage in self.stages.values() for path, md5 in stage.outs.items()}

    @property
    def runs(self) -> dict[str, str]:
        """Stage -> id of its run."""
        return {name: stage.run for name, stage in self.stages.items() if stage.run}

    def edges(self) -> Iterator[tuple[str, str, str]]:
        """(stage, path, stage that reads it) for all data that one stage hands to another."""
        for reader, stage in self.stages.items():
            for path in stage.deps:
                for writer, other in self.stages.items():
                    if writer != reader and any(_within(path, out) or _within(out, path) for out in other.outs):
                        yield writer, path, reader

    def hashes(self) -> Iterator[tuple[str, str]]:
        """(what it is, hash) for everything that the record holds; names of data begin with `dvc.` as tags do."""
        yield "git.commit", self.git.commit
        for path, md5 in self.outputs.items():
            yield f"dvc.{path}", md5
        for name, stage in self.stages.items():
            for path, md5 in stage.deps.items():
                yield f"read by {name}: {path}", md5
            if stage.run:
                yield f"run.{name}", stage.run
        for kind, files in (("model file", self.model.files), ("file", self.files)):
            for path, digest in files.items():
                if digest:
                    yield f"{kind} {path}", digest
        for kind, what in (("backbone", self.backbone), ("encoder", self.encoder)):
            for key, value in what.items():
                if isinstance(value, str) and value:
                    yield f"{kind}.{key}", value
        yield MODEL_SHA256, self.model.sha256
        if self.flow_run:
            yield "flow_run", self.flow_run


def write(
    client: "MlflowClient", params: Params, paths: Paths, name: str, logged: "ModelInfo", origin: Mapping[str, str]
) -> dict[str, str]:
    """Keeps the record, dvc.lock and params.yaml with a model's run; returns the tags of hashes for its version.

    Args:
        client: of the tracking server, which must take them now.
        params: of the pipeline.
        paths: of the project; all stages before `register` have run.
        name: in the registry, where the model is not yet.
        logged: the model; hashed is what the server has got.
        origin: its tags; commit and hashes of data are taken from there, so that both say the same.

    """
    where = client.get_logged_model(logged.model_id).artifact_location
    folder = model_files.copy_from(where, logged.model_uri)
    files = model_files.digests(folder)
    model = Model(name=name, sha256=model_files.digest(files), bytes=model_files.size(folder), files=files)
    record = collect(params, paths, model, logged.run_id, origin)
    text = record.model_dump_json(indent=1) + "\n"
    for path in (paths.lock, paths.params):
        client.log_artifact(logged.run_id, str(path))
    client.log_text(logged.run_id, text, RECORD)
    return {
        MODEL_SHA256: model.sha256,
        MODEL_BYTES: str(model.bytes),
        LINEAGE_SHA256: hashlib.sha256(text.encode()).hexdigest(),
    }


def collect(params: Params, paths: Paths, model: Model, run_id: str, origin: Mapping[str, str]) -> Record:
    """The record of a version whose files are `model`; see `write`."""
    from components.tracking import FLOW_RUN

    lineage = Lineage(paths)
    encoder = {key: origin[f"encoder.{key}"] for key in ("identity", "source", "sha256", "licence")}
    return Record(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model,
        git=Git(commit=origin["git.commit"], dirty=origin["git.dirty"] == "true", changed=_changed(paths)),
        stages=_stages(paths, lineage, run_id),
        params=flatten(params),
        files={
            **{path.name: sha256(path) for path in (paths.lock, paths.params)},
            TEMPLATES: sha256(paths.root / TEMPLATES) if (paths.root / TEMPLATES).is_file() else None,
        },
        backbone=json.loads((paths.policy / "policy.json").read_text())["backbone"],
        encoder={**encoder, "revision": params.vision.revision},
        packages=dict(sorted((found.metadata["Name"], found.version) for found in distributions())),
        machine=machine(),
        flow_run=os.environ.get(FLOW_RUN),
    )


def read(version: "ModelVersion") -> Record:
    """The record of a version.

    Raises:
        UserError: it was registered without one, the run that holds it is gone, or its hash is not the recorded one.

    """
    where, recorded = model_files.uri_of(version), version.tags.get(LINEAGE_SHA256)
    if recorded is None:
        raise UserError("was registered before its lineage was recorded", where, model_files.AGAIN)
    text = model_files.read_artifact(version.run_id, RECORD)
    if text is None:
        raise UserError(f"{RECORD} of run {version.run_id} is gone", where, model_files.AGAIN)
    if hashlib.sha256(text).hexdigest() != recorded:
        raise UserError(f"{RECORD} is not the one that was recorded (tag {LINEAGE_SHA256})", where, model_files.AGAIN)
    return parse(text, where)


def parse(text: bytes, where: str) -> Record:
    """A record from JSON; UserError when it is none."""
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{RECORD} is none of ours: {'.'.join(map(str, first['loc']))} {first['msg']}"
        raise UserError(what, where, "read it with the code that wrote it") from None


def _stages(paths: Paths, lineage: Lineage, run_id: str) -> dict[str, Stage]:
    stages = {}
    for name in lineage.stages:
        if name == STAGE:
            continue
        entry, link = lineage.stage_lock(name), _link(paths, name)
        outs = _hashes(entry.get("outs", ()))
        stages[name] = Stage(
            experiment=link.get("experiment_id"),
            run=link.get("run_id"),
            deps=_hashes(entry.get("deps", ())),
            outs={path: md5 for path, md5 in outs.items() if path in lineage.hashes},
            link=outs.get(paths.run(name).relative_to(paths.root).as_posix()),
        )
    inputs = {dataset.path: dataset.md5 for dataset in lineage.inputs(STAGE)}
    experiment = next((stage.experiment for stage in stages.values() if stage.experiment), None)
    return {**stages, STAGE: Stage(experiment=experiment, run=run_id, deps=inputs, outs={}, link=None)}


def _link(paths: Paths, stage: str) -> dict[str, str]:
    """Experiment and run that a stage has left."""
    path = paths.run(stage)
    return json.loads(path.read_text()) if path.is_file() else {}


def _hashes(entries: Any) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}


def _changed(paths: Paths) -> dict[str, str | None]:
    """Files of the code that differ from the commit, with their sha256."""
    try:
        tracked = git(paths.root, "diff", "--name-only", "-z", "--relative", "HEAD", "--", *CODE)
        others = git(paths.root, "ls-files", "--others", "--exclude-standard", "-z", "--", *CODE)
    except UserError:  # no repository, or no commit yet
        return {}
    names = filter(None, (*tracked.split("\0"), *others.split("\0")))
    return {name: _sha256(paths.root / name) for name in sorted(names)}


def _sha256(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
