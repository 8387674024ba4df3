import subprocess
from pathlib import Path

import pytest

from components.lineage import Dataset, Lineage
from components.paths import Paths

PIPELINE = """
stages:
  train:
    cmd: "true"
    deps: [llarp, data/features, data/runs/features.json, data/unknown]
    params: [seed, train]
"""
LOCK = """
stages:
  features:
    outs:
    - {path: data/features, md5: abc.dir}
    - {path: data/runs/features.json, md5: def}
"""


@pytest.fixture
def project(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "llarp").mkdir()
    (tmp_path / "llarp" / "code.py").write_text("x = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path


def test_inputs_are_the_data_that_dvc_has_hashed(project):
    (project / "dvc.lock").write_text(LOCK)
    assert Lineage(Paths(project)).inputs("train") == [Dataset("data/features", "abc.dir")]


def test_without_a_lock_there_are_no_inputs(project):
    assert Lineage(Paths(project)).inputs("train") == []


def test_parameters_of_a_stage(project):
    assert Lineage(Paths(project)).params("train") == ["seed", "train"]


def test_only_changed_code_makes_the_tree_dirty(project):
    (project / "dvc.lock").write_text(LOCK)
    (project / "params.yaml").write_text("seed: 1\n")
    clean = Lineage(Paths(project))
    assert len(clean.commit) == 40
    assert not clean.is_dirty
    (project / "llarp" / "code.py").write_text("x = 2\n")
    assert Lineage(Paths(project)).is_dirty


def test_outside_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert Lineage(Paths(tmp_path)).commit == "unknown"
    assert not Lineage(Paths(tmp_path)).is_dirty


def test_the_pipeline_names_only_paths_that_paths_knows():
    """dvc.yaml cannot import components.paths: this keeps the two together."""
    import yaml

    root = Path(__file__).parents[2]
    paths = Paths(Path())
    known = {value.as_posix() for name in dir(Paths) if isinstance(value := getattr(paths, name, None), Path)}
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        # An output with settings of its own is a mapping from its path.
        named = [*stage["outs"], *stage.get("metrics", ())]
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in named]
        assert paths.run(name).as_posix() in outs
        assert set(outs) - {paths.run(name).as_posix()} <= known
