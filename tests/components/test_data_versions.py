"""Versions of the data, in a project whose stage writes a handful of episodes; git and DVC are the real ones."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from components import data_versions
from components.paths import Paths
from llarp.config import load_params
from llarp.errors import UserError
from llarp.sim.rules import RuleWorld
from llarp.tasks.data import store
from llarp.tasks.data.dataset import REPORT, Report
from llarp.tasks.generator import generate
from llarp.tasks.splits import SPLITS
from pipelines.cli.data import app

PIPELINE = """
stages:
  episodes:
    cmd: "true"
    deps: [code.py]
    params: [seed, episodes.train]
    outs: [data/episodes, data/runs/episodes.json]
"""


class Project:
    """A git and DVC repository; `write` does what the stage would, without its cost."""

    def __init__(self, root, source):
        self.root, self.paths = root, Paths()
        (root / "dvc.yaml").write_text(PIPELINE)
        (root / "code.py").write_text("1\n")
        (root / ".gitignore").write_text("/data/\n/.llarp/\n")
        (root / "incoming").mkdir()
        for name in ("params.yaml", "presets/test.yaml"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(source / name, root / name)
        self.run("git", "init", "--quiet")
        self.run(sys.executable, "-m", "dvc", "init", "--quiet")
        self.run("git", "add", ".")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "first")

    def run(self, *command):
        variables = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        done = subprocess.run(command, cwd=self.root, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, seed, train, extra=()):
        text = (self.root / "params.yaml").read_text().splitlines()
        text = [f"seed: {seed}" if line.startswith("seed:") else line for line in text]
        (self.root / "params.yaml").write_text("\n".join(text) + "\n")
        shutil.rmtree(self.paths.episodes, ignore_errors=True)
        config = load_params().episodes
        for split in SPLITS:
            episodes = generate(split, train if split == "train" else 1, seed, config, world=RuleWorld())
            store.write(store.shard_path(self.paths.split(split), 0), episodes)
        if extra:
            store.write(store.shard_path(self.paths.split("train"), 1), extra)
        (self.paths.episodes / REPORT).write_text(Report.of(self.paths.episodes, seed, {}).to_json())
        self.paths.run("episodes").parent.mkdir(exist_ok=True)
        self.paths.run("episodes").write_text(json.dumps({"run": seed}))
        data_versions.commit(self.paths)

    def files(self):
        return {path.as_posix(): path.read_bytes() for path in self.paths.data.rglob("*") if path.is_file()}


def llarp_data(*arguments):
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory, request):
    """Two versions; the second has two episodes more in training."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project = Project(root, request.config.rootpath)
        project.write(7, 4)
        project.first, project.said = project.files(), [llarp_data("tag")]
        new = list(generate("train", 2, 99, load_params().episodes, world=RuleWorld()))
        project.write(7, 4, [replace(entry, episode_id=f"new-{number}") for number, entry in enumerate(new)])
        project.second = project.files()
        project.said.append(llarp_data("tag"))
        yield project


@pytest.fixture
def project(built, monkeypatch):
    monkeypatch.chdir(built.root)
    return built


def test_a_version_is_made_of_new_data_alone(project):
    assert [line.split(":")[0] for line in project.said] == ["Version v1", "Version v2"]
    assert llarp_data("tag", "again") == "Nothing new: the data are version v2 already.\n"
    with pytest.raises(UserError, match="cannot be the name of a version"):
        project.write(8, 3)
        llarp_data("tag", "two words")
    with pytest.raises(UserError, match="there is a version called 'v1' already, of other data"):
        llarp_data("tag", "v1")


def test_tags_leave_branch_index_and_files_alone(project):
    assert project.run("git", "log", "--format=%s").split() == ["first"]
    status = project.run("git", "status", "--porcelain").split("\n")
    assert {line[3:] for line in status if line} <= {"dvc.lock", "params.yaml"}


def test_any_tool_that_takes_a_revision_knows_a_version(project, tmp_path):
    project.run("git", "clone", "--quiet", str(project.root), str(tmp_path / "clone"))
    assert "v1" in project.run("git", "-C", str(tmp_path / "clone"), "tag")
    project.run(sys.executable, "-m", "dvc", "get", ".", "data/episodes", "--rev", "data/v1", "-o", str(tmp_path / "e"))
    train = tmp_path / "e" / "train" / "part-00000.parquet"
    assert train.read_bytes() == project.first["data/episodes/train/part-00000.parquet"]


def test_the_list_marks_what_is_in_the_workspace(project):
    llarp_data("checkout", "v2")
    lines = llarp_data("list").splitlines()
    total = 4 + len(SPLITS) - 1
    assert [line.split()[:3] for line in lines[1:]] == [["v1", str(total), "7"], ["*", "v2", str(total + 2)]]
    assert data_versions.name_of(project.paths) == "data/v2"


def test_diff_names_parameters_counts_and_episodes(project):
    said = llarp_data("diff", "v1", "v2", "--episodes").splitlines()
    assert said[0] == "train: 4 -> 6 episodes, +2 -0"
    assert {"    + new-0", "    + new-1"} <= set(said) and not [line for line in said if "- " in line]
    assert llarp_data("diff", "v1", "v1") == "No difference.\n"
    project.write(9, 4)
    said = llarp_data("diff", "v2").splitlines()
    assert said[0] == "seed: 7 -> 9" and "train: 6 -> 4 episodes, +4 -6" in said


def test_checkout_brings_data_and_parameters_and_leaves_nothing_stale(project):
    project.write(5, 2)
    assert "params.yaml  seed: 5 -> 7" in llarp_data("checkout", "data/v1")
    assert project.files() == project.first
    assert project.run(sys.executable, "-m", "dvc", "status", "--quiet") == ""
    llarp_data("checkout", "v2")
    assert project.files() == project.second
    with pytest.raises(UserError, match="no version of the data is called 'v3' — choose one of: v1, v2"):
        llarp_data("checkout", "v3")


def test_a_version_whose_bytes_are_gone_is_refused_and_changes_nothing(project, monkeypatch):
    llarp_data("checkout", "v2")
    project.write(5, 2)
    before, params = project.files(), (project.root / "params.yaml").read_text()
    cache = project.root / ".dvc" / "cache"
    cache.rename(project.root / "gone")
    try:
        with pytest.raises(UserError, match="the bytes of version v1 are not in DVC's cache"):
            llarp_data("checkout", "v1")
        with pytest.raises(UserError, match="the bytes of version v"):
            llarp_data("diff", "v1", "v2")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (project.root / "gone").rename(cache)
    assert project.files() == before and (project.root / "params.yaml").read_text() == params


def test_a_policy_names_the_data_it_saw(project, tmp_path):
    llarp_data("checkout", "v1")
    data_versions.write_seen(project.paths, tmp_path)
    seen = json.loads((tmp_path / "data.json").read_text())
    assert seen == {"version": "data/v1", "md5": data_versions.version(project.paths, "v1").md5}
    project.write(6, 2)
    assert data_versions.name_of(project.paths) == data_versions.workspace(project.paths).md5


def test_outside_a_repository_there_are_no_versions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="work in a clone of the project"):
        llarp_data("list")
    assert data_versions.name_of(Paths()) is None
